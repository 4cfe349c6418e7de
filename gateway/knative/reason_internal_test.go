package knative

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"knative.dev/pkg/apis"
)

// TestNoLogIsInAReason holds that callers read nothing of what a container logged,
// which Kubernetes reports where it wrote no reason itself.
func TestNoLogIsInAReason(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Revision \"rec-2\" failed with message:\n Container failed with: rec: model rec@2: absent": `Revision "rec-2" failed with message: Container failed with: rec: model rec@2: absent`,
		"Container failed with: rec: the environment is wrong:\nPORT: expected 0 to 65535":          "Container failed with: rec: the environment is wrong: PORT: expected 0 to 65535",
		"Container failed with: panic: index out of range\n\ngoroutine 1 [running]:\nmain.main()":   "Container failed with: the container's log has the reason",
		"Container failed with: {\"time\":\"2026\",\"tenant\":\"acme\"}\n{\"time\":\"2026\"}":       "Container failed with: the container's log has the reason",
		"rs     0x7f\nfatal error: unexpected signal":                                               "rs 0x7f the container's log has the reason",
		"Container failed with: SIGSEGV: segmentation violation\nPC=0x0":                            "Container failed with: the container's log has the reason",
		"Container failed with: time=2026-01-01 level=INFO":                                         "Container failed with: the container's log has the reason",
	} {
		got := readVerdict(&apis.Condition{Type: apis.ConditionReady, Status: corev1.ConditionFalse, Message: text}).message
		if got != want {
			t.Errorf("%q\n%s\nwant\n%s", text, got, want)
		}
	}
}
