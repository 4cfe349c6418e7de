package knative

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// namespaceFile has the namespace of the Pod that a process runs in.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// Client is one of an API server.
type Client = dynamic.Interface

// NewClient reaches the API server of the cluster that this process runs in, or
// else of the one that kubeconfig names, a list of files as KUBECONFIG has it.
// Nothing is called yet.
func NewClient(kubeconfig string) (Client, error) {
	config, err := rest.InClusterConfig()
	if errors.Is(err, rest.ErrNotInCluster) && kubeconfig != "" {
		config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(kubeconfig)}, nil).ClientConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("find the API server, by the Pod's account or by KUBECONFIG: %w", err)
	}
	config.UserAgent = "modelserve-pipelines"
	config.WarningHandler = rest.NoWarnings{} // deprecations are for who writes manifests
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	return client, nil
}

// OwnNamespace is the namespace of the Pod that this process runs in; other in
// none.
func OwnNamespace(other string) string {
	if text, err := os.ReadFile(namespaceFile); err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text))
	}
	return other
}
