package revision

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/networking/pkg/http/stats"
	"knative.dev/serving/pkg/autoscaler/aggregation"
	autoscaler "knative.dev/serving/pkg/autoscaler/config"
	"knative.dev/serving/pkg/autoscaler/metrics"
	"knative.dev/serving/pkg/autoscaler/scaling"
	kpa "knative.dev/serving/pkg/reconciler/autoscaling/kpa/resources"
	"knative.dev/serving/pkg/reconciler/autoscaling/resources"
)

const namespace = "default"

// Knative's autoscaler takes a sample a second and decides every other.
const (
	sampleInterval   = time.Second
	ticksPerDecision = 2
)

// scaler asks Knative's autoscaler for a scale and applies to its answer what
// Knative's controller applies: bounds, initial scale, and the time before
// zero. It is used by one goroutine.
type scaler struct {
	cfg        *Config
	readyCount func() int
	uni        scaling.UniScaler
	log        *zap.SugaredLogger

	concurrency, rps samples

	initialized bool      // the initial scale has been reached once
	activeSince time.Time // zero: not active
	idleSince   time.Time // zero: not waiting for zero
}

// samples are averages over the stable and the panic window.
type samples struct {
	stable, panicking *aggregation.TimedFloat64Buckets
}

func newScaler(cfg *Config, readyCount func() int) *scaler {
	s := &scaler{cfg: cfg, readyCount: readyCount, log: zap.NewNop().Sugar()}
	pa := podAutoscaler(cfg, true)
	spec := resources.MakeMetric(pa, "", cfg.Autoscaler).Spec
	window := func() samples {
		return samples{
			aggregation.NewTimedFloat64Buckets(spec.StableWindow, autoscaler.BucketSize),
			aggregation.NewTimedFloat64Buckets(spec.PanicWindow, autoscaler.BucketSize),
		}
	}
	s.concurrency, s.rps = window(), window()
	decider := kpa.MakeDecider(pa, cfg.Autoscaler)
	s.uni = scaling.New(*attribute.EmptySet(), noop.NewMeterProvider(), namespace, cfg.Name, s, s, &decider.Spec)
	return s
}

// minimum is the least scale that the manifest asks for, routed or not.
func (s *scaler) minimum() int {
	low, _ := podAutoscaler(s.cfg, true).ScaleBounds(s.cfg.Autoscaler)
	if !s.initialized {
		low = max(low, s.initial())
	}
	return int(low)
}

func (s *scaler) initial() int32 {
	return kpa.GetInitialScale(s.cfg.Autoscaler, podAutoscaler(s.cfg, true))
}

// sample takes one second's report.
func (s *scaler) sample(now time.Time, r stats.RequestStatsReport) {
	s.concurrency.record(now, r.AverageConcurrency)
	s.rps.record(now, r.RequestCount)
}

// arrived notes requests that arrived at zero, so that the decision sees them
// before the next sample.
func (s *scaler) arrived(now time.Time, waiting float64) {
	s.concurrency.record(now, waiting)
	s.rps.record(now, waiting)
}

func (b samples) record(now time.Time, v float64) {
	b.stable.Record(now, v)
	b.panicking.Record(now, v)
}

func (b samples) averages(now time.Time) (stable, panicking float64, err error) {
	if b.stable.IsEmpty(now) {
		return 0, 0, metrics.ErrNoData
	}
	return b.stable.WindowAverage(now), b.panicking.WindowAverage(now), nil
}

// StableAndPanicConcurrency implements metrics.MetricClient.
func (s *scaler) StableAndPanicConcurrency(_ types.NamespacedName, now time.Time) (stable, panicking float64, err error) {
	return s.concurrency.averages(now)
}

// StableAndPanicRPS implements metrics.MetricClient.
func (s *scaler) StableAndPanicRPS(_ types.NamespacedName, now time.Time) (stable, panicking float64, err error) {
	return s.rps.averages(now)
}

// ReadyCount implements resources.EndpointsCounter.
func (s *scaler) ReadyCount() (int, error) { return s.readyCount(), nil }

// NotReadyCount implements resources.EndpointsCounter.
func (s *scaler) NotReadyCount() (int, error) { return 0, nil }

// desired is how many instances there shall be.
func (s *scaler) desired(now time.Time, reachable bool, waiting int) int {
	pa := podAutoscaler(s.cfg, reachable)
	s.uni.Update(&kpa.MakeDecider(pa, s.cfg.Autoscaler).Spec)
	ready := s.readyCount()
	want := int32(ready)
	if r := s.uni.Scale(s.log, now); r.ScaleValid {
		want = r.DesiredPodCount
	}
	low, high := pa.ScaleBounds(s.cfg.Autoscaler)
	if initial := s.initial(); !s.initialized && reachable {
		if int32(ready) >= initial {
			s.initialized = true
		} else {
			low = max(low, initial)
		}
	}
	if waiting > 0 {
		low = max(low, 1)
	}
	want = max(want, low)
	if high > 0 {
		want = min(want, high)
	}
	if want > 0 {
		return s.active(now, ready, int(want))
	}
	return s.towardsZero(now, reachable, ready)
}

func (s *scaler) active(now time.Time, ready, want int) int {
	s.idleSince = time.Time{}
	if s.activeSince.IsZero() && ready > 0 {
		s.activeSince = now
	}
	return want
}

// towardsZero follows Knative's controller: the last instance stays until the
// revision was active for a window, then idle for the grace period and the
// retention, the longer of the two.
func (s *scaler) towardsZero(now time.Time, reachable bool, ready int) int {
	if !s.cfg.Autoscaler.EnableScaleToZero {
		return 1
	}
	if !reachable {
		s.activeSince, s.idleSince = time.Time{}, time.Time{}
		return 0
	}
	pa := podAutoscaler(s.cfg, reachable)
	if !s.activeSince.IsZero() && now.Sub(s.activeSince) < resources.StableWindow(pa, s.cfg.Autoscaler) {
		return min(1, ready)
	}
	if s.idleSince.IsZero() {
		s.idleSince = now
	}
	s.activeSince = time.Time{}
	hold := s.cfg.Autoscaler.ScaleToZeroGracePeriod
	retention, ok := pa.ScaleToZeroPodRetention()
	if !ok {
		retention = s.cfg.Autoscaler.ScaleToZeroPodRetentionPeriod
	}
	if now.Sub(s.idleSince) < max(hold, retention) {
		return min(1, ready)
	}
	s.idleSince = time.Time{}
	return 0
}
