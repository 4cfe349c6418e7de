package instance

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"knative.dev/serving/pkg/queue/health"
)

// Knative's queue-proxy probes every 50 ms until a container is ready; here the
// first probes come faster, because a function is often ready in less.
const (
	probeFirst   = 2 * time.Millisecond
	probeMost    = 50 * time.Millisecond
	probeTimeout = time.Second
)

// Ready probes until the probe has succeeded as often as it must. Its probes
// are those of Knative's queue-proxy. A function that reports why it cannot serve,
// and not only is not ready yet, ends it at once.
func (i *Instance) Ready(ctx context.Context) error {
	if err := sleep(ctx, i.done, time.Duration(i.probe.InitialDelaySeconds)*time.Second); err != nil {
		return err
	}
	interval, fixed := probeFirst, time.Duration(i.probe.PeriodSeconds)*time.Second
	var last error
	for good := int32(0); ; {
		if err := i.once(ctx); err == nil {
			last = nil
			if good++; good >= max(1, i.probe.SuccessThreshold) {
				return nil
			}
		} else {
			if good = 0; last == nil || ctx.Err() == nil { // else it says no more than that ctx has ended
				last = err
			}
			if reason := i.report.read(); reason != "" {
				return errors.New(reason)
			}
		}
		if fixed > 0 {
			interval = fixed
		}
		if err := sleep(ctx, i.done, interval); err != nil {
			return fmt.Errorf("%w: last probe: %w", err, last)
		}
		interval = min(interval*2, probeMost)
	}
}

func (i *Instance) timeout() time.Duration {
	if t := i.probe.TimeoutSeconds; t > 0 {
		return time.Duration(t) * time.Second
	}
	return probeTimeout
}

// once probes.
func (i *Instance) once(ctx context.Context) error {
	port, err := i.at.find(ctx, i.timeout())
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	switch {
	case i.probe.HTTPGet != nil:
		get := *i.probe.HTTPGet
		get.Host, get.Port = "127.0.0.1", intstr.FromInt(port)
		if get.Scheme == "" {
			get.Scheme = corev1.URISchemeHTTP
		}
		err = health.HTTPProbe(health.HTTPProbeConfigOptions{Timeout: i.timeout(), HTTPGetAction: &get, MaxProtoMajor: 1})
	case i.probe.GRPC != nil:
		action := *i.probe.GRPC
		action.Port = int32(port)
		err = health.GRPCProbe(health.GRPCProbeConfigOptions{Timeout: i.timeout(), GRPCAction: &action})
	default:
		err = health.TCPProbe(health.TCPProbeConfigOptions{SocketTimeout: i.timeout(), Address: i.Address()})
	}
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}

func sleep(ctx context.Context, done <-chan struct{}, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx) //nolint:wrapcheck // the cause is the message
	case <-done:
		return errors.New("ended before it was ready")
	case <-timer.C:
		return nil
	}
}
