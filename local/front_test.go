package local

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPrintedCommands holds the lines of the first screen: short ones for a
// platform in the working directory, and elsewhere such as work anywhere.
func TestPrintedCommands(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		data string
		want []string
	}{
		"here": {"/src/.modelserve", []string{
			`curl -fsS -H @.modelserve/key.header --data-binary @functions/text-detect/testdata/page.png http://text-detect.default.localhost:1/`,
			`bin/modelserve pipelines run read-document functions/text-detect/testdata/page.png`,
			`bin/modelserve models push my-model .deps/models/text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx`,
		}},
		"elsewhere": {"/tmp/my data", []string{
			`curl -fsS -H @'/tmp/my data/key.header' --data-binary @/src/functions/text-detect/testdata/page.png http://text-detect.default.localhost:1/`,
			`/opt/modelserve pipelines run read-document /src/functions/text-detect/testdata/page.png --data '/tmp/my data'`,
			`/opt/modelserve models push my-model /src/.deps/models/text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx --data '/tmp/my data'`,
		}},
		"another folder here": {"/src/other", []string{
			`curl -fsS -H @/src/other/key.header --data-binary @/src/functions/text-detect/testdata/page.png http://text-detect.default.localhost:1/`,
			`/opt/modelserve pipelines run read-document /src/functions/text-detect/testdata/page.png --data /src/other`,
			`/opt/modelserve models push my-model /src/.deps/models/text-orient/ch_ppocr_mobile_v2.0_cls_mobile.onnx --data /src/other`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines := commands{
				here: "/src", program: "/opt/modelserve", data: tc.data, deps: "/src/.deps",
				detect: "http://text-detect.default.localhost:1/", shipped: true,
			}.lines()
			if diff := cmp.Diff(tc.want, []string{lines[1], lines[3], lines[5]}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPrintedCommandsWithoutShippedModels holds that a platform in a module of
// others names nothing that is not there.
func TestPrintedCommandsWithoutShippedModels(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"/src/.modelserve": "modelserve models push my-model FILE.onnx",
		"/tmp/data":        "/opt/modelserve models push my-model FILE.onnx --data /tmp/data",
	} {
		lines := commands{here: "/src", program: "/opt/modelserve", data: data}.lines()
		if diff := cmp.Diff([]string{"publish a model: any ONNX file", want}, lines); diff != "" {
			t.Error(diff)
		}
	}
}
