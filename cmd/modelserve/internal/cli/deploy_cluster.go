package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/modelserveai/modelserve/runtime/model"
)

// gatewayService and poolService are the names of the platform's own services.
const (
	gatewayService = "gateway"
	poolService    = "pool"
)

// madeBy is the label of what deploy made, and madeByDeploy its value.
const (
	madeBy       = "app.kubernetes.io/managed-by"
	madeByDeploy = "modelserve-deploy"
)

// errNone reports that a cluster has no Knative Service of a name, and errNoKubectl
// that it cannot be asked.
var (
	errNone      = errors.New("there is none")
	errNoKubectl = errors.New("kubectl is not in PATH, so the cluster cannot be asked; install it")
)

// cluster asks the current cluster by kubectl, which every user of one has.
type cluster struct {
	kubectl   string        // the command
	namespace string        // that it asks about
	dir       string        // where it runs
	every     time.Duration // between two questions
	lasting   time.Duration // for which a service must stay failed, the reason the same, to count as failed
}

func (a *app) cluster(namespace string) cluster {
	return cluster{kubectl: "kubectl", namespace: namespace, dir: a.Dir, every: time.Second, lasting: 3 * time.Second}
}

// deployCluster writes the manifest for a cluster, or applies it and waits until
// the service is ready, or both.
func (a *app) deployCluster(ctx context.Context, s *service, m *model.Manifest, text string, to destination) error {
	c := a.cluster(s.Namespace)
	if to.apply != "" {
		if err := c.nameIsFree(ctx, s.Name); err != nil {
			return err
		}
	}
	result := deployResult{Name: s.Name, Version: s.Version}
	if to.dir != "" {
		result.File = filepath.Join(to.dir, s.Name+".yaml")
		if !filepath.IsAbs(result.File) {
			result.File = filepath.Join(a.Dir, result.File)
		}
		if err := writeManifest(result.File, text); err != nil {
			return err
		}
	}
	if to.apply == "" {
		return a.printDeploy(result, "apply it with: ko apply -f "+shellQuote(result.File)+"\n")
	}
	if err := a.apply(ctx, to.apply, text); err != nil {
		return err
	}
	shown := a.progress(s.Name + ": ")
	url, err := c.waitReady(ctx, s.Name, to.wait, shown)
	shown.clear()
	if err != nil {
		return fmt.Errorf("%s is applied, but not ready: %w", s.Name, err)
	}
	result.URL = url
	gateway, known, err := a.gateway(ctx, c)
	if err != nil {
		return err
	}
	if !known {
		return a.printDeploy(result, "call it through the gateway, whose URL --server gives\n")
	}
	// By its version: without one a call by path is for the newest, elsewhere perhaps.
	result.Curl = curlLine(m, inferURL(model.Ref{Name: s.Name, Version: s.Version}, gateway), gateway)
	return a.printDeploy(result, callText(result.Curl, gateway))
}

// apply hands the manifest to ko or kubectl.
func (a *app) apply(ctx context.Context, command, text string) error {
	cmd := exec.CommandContext(ctx, command, "apply", "-f", "-")
	cmd.Dir, cmd.Stdin = a.Dir, strings.NewReader(text)
	cmd.Stdout, cmd.Stderr = a.Err, a.Err // Out is for what the CLI itself prints
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%s is not in PATH: install it, or write the manifest with --output-dir and apply it by other means", command)
	}
	return fmt.Errorf("`%s apply` failed: %w", command, err)
}

// nameIsFree refuses to replace a service that deploy did not make.
func (c *cluster) nameIsFree(ctx context.Context, name string) error {
	state, err := c.get(ctx, name)
	switch {
	case errors.Is(err, errNone):
		return nil
	case err != nil:
		return err
	case state.Metadata.Labels[madeBy] != madeByDeploy:
		return fmt.Errorf("%s is a service already, which deploy did not make: change it where it was made, or publish the model under another name", name)
	}
	return nil
}

// gateway is where the cluster's models are called: where flags and variables
// name it, else the gateway's own public URL. known is false when none is known.
func (a *app) gateway(ctx context.Context, c cluster) (addr address, known bool, err error) {
	there := *a
	if there.server == "" && a.vars.Server == "" {
		there.server = a.vars.Gateway
		if there.server == "" {
			if state, err := c.get(ctx, gatewayService); err == nil {
				there.server = state.Status.URL
			}
		}
		if there.server == "" {
			return address{}, false, ctx.Err()
		}
	}
	addr, err = there.address()
	return addr, err == nil, err
}

// knativeService is what is read of a Knative Service.
type knativeService struct {
	Metadata struct {
		Generation int64             `json:"generation"`
		Labels     map[string]string `json:"labels"`
	} `json:"metadata"`
	Status struct {
		ObservedGeneration int64       `json:"observedGeneration"`
		URL                string      `json:"url"`
		LatestReady        string      `json:"latestReadyRevisionName"`
		Conditions         []condition `json:"conditions"`
	} `json:"status"`
}

// condition is a condition of a Kubernetes object.
type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"` // True, False or Unknown
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// ready is the condition of the template that the service has now: True, False or
// Unknown, and why.
func (k *knativeService) ready() (status, why string) {
	if k.Status.ObservedGeneration < k.Metadata.Generation {
		return "Unknown", "Knative has not observed it yet"
	}
	status, why = "Unknown", "Knative has not reported a condition yet"
	cause := ""
	for _, c := range k.Status.Conditions {
		switch {
		case c.Type == "Ready":
			status, why = c.Status, strings.TrimSpace(firstOf(c.Message, c.Reason, "it is starting"))
		case c.Type == "ConfigurationsReady" && c.Status == "False":
			cause = strings.TrimSpace(c.Message)
		}
	}
	if status == "False" && cause != "" {
		why = cause // where nothing was ever ready, Ready has no more than that
	}
	return status, why
}

// get reads a Knative Service.
func (c *cluster) get(ctx context.Context, name string) (*knativeService, error) {
	cmd := exec.CommandContext(ctx, c.kubectl, "get", "ksvc", name, "-n", c.namespace, "-o", "json", "--ignore-not-found") //nolint:gosec // its name is fixed, and those of the service and of its namespace DNS labels
	cmd.Dir = c.dir
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errNoKubectl
	}
	if err == nil && len(out) == 0 {
		err = errNone
	}
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && len(exit.Stderr) > 0 {
			err = errors.New(strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("kubectl get ksvc %s: %w", name, err)
	}
	state := &knativeService{}
	if err := json.Unmarshal(out, state); err != nil {
		return nil, fmt.Errorf("kubectl get ksvc %s: %w", name, err)
	}
	return state, nil
}

// waitReady asks until the service is ready, and returns its URL. Knative takes
// some failures back, so one counts when it lasts. An error has the reason,
// and what still answers.
func (c *cluster) waitReady(ctx context.Context, name string, wait time.Duration, shown *progress) (url string, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	last := "Knative has not reported a condition yet"
	var failed string // the reason that is being watched
	var since time.Time
	for {
		state, err := c.get(ctx, name)
		switch {
		case errors.Is(err, errNoKubectl):
			return "", err
		case err != nil && ctx.Err() == nil:
			last, failed = err.Error(), ""
		case err == nil:
			var status string
			if status, last = state.ready(); status == "True" {
				return state.Status.URL, nil
			}
			if status != "False" {
				failed = ""
			} else if failed != last {
				failed, since = last, time.Now()
			}
			if failed != "" && time.Since(since) >= c.lasting {
				return "", errors.New(failed + stillAnswers(state))
			}
		}
		shown.stage(last)
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return "", ctx.Err()
			}
			return "", fmt.Errorf("%s after %s; `kubectl describe ksvc %s -n %s` shows more", last, wait, name, c.namespace)
		}
	}
}

// stillAnswers names the revision that keeps the traffic of a service whose newest is
// not ready.
func stillAnswers(k *knativeService) string {
	if k.Status.LatestReady == "" {
		return ""
	}
	return "\n" + k.Status.LatestReady + " answers as before"
}
