package dispatch

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/modelserveai/modelserve/pipelines/decide"
	"github.com/modelserveai/modelserve/pipelines/execution"
)

// metrics count what becomes of executions, by whichever part of the service.
type metrics struct {
	executions *prometheus.CounterVec
	steps      *prometheus.CounterVec
	retries    *prometheus.CounterVec
	dead       *prometheus.CounterVec
	pipelines  named
	backlog    *backlog
	late       prometheus.Counter
	sends      prometheus.Counter
	removed    prometheus.Counter
	failures   prometheus.Counter
	delay      *prometheus.HistogramVec
	duration   *prometheus.HistogramVec
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		executions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_pipelines_executions_total", Help: "Executions that began (running) or ended, by the status that they then had.",
		}, []string{"status"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_pipelines_steps_total", Help: "Steps of executions that began (running) or ended, by the status that they then had.",
		}, []string{"status"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_pipelines_retries_total", Help: "Steps that are sent again: after a failing answer (attempt), or after a process or connection that broke or a deadline that passed (break).",
		}, []string{"kind"}),
		dead: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "modelserve_pipelines_dead_letters_total", Help: "Steps that are not tried again, by pipeline: the first 100 that have one, and _other. Calls that are answered later have no pipeline.",
		}, []string{"pipeline"}),
		backlog: newBacklog(),
		late: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_pipelines_late_answers_total", Help: "Answers that changed nothing, because the step was sent again, or had ended.",
		}),
		sends: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_pipelines_sends_total", Help: "Events of steps that were sent, and calls of URLs.",
		}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_pipelines_executions_removed_total", Help: "Executions that were removed after their retention.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "modelserve_pipelines_work_failures_total", Help: "Times that what was due could not be done, mostly because the database was away.",
		}),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modelserve_pipelines_due_delay_seconds", Help: "How long what was due had been due when it was taken: start of an execution, sending of a step, a lease that ran out, the end of an execution's time.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 15, 60, 300, 900},
		}, []string{"what"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "modelserve_pipelines_execution_seconds", Help: "How long executions took from when they were accepted to their end.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200},
		}, []string{"status"}),
	}
	for _, c := range []prometheus.Collector{m.executions, m.steps, m.retries, m.dead, m.backlog, m.late, m.sends, m.removed, m.failures, m.delay, m.duration} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of pipelines: %w", err)
		}
	}
	return m, nil
}

// inFlight adds what is on its way, and what waits for its turn.
func (m *metrics) inFlight(registry prometheus.Registerer, p *posts) error {
	for _, c := range []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "modelserve_pipelines_sending", Help: "Events of steps that are on their way, with all that follows from them, and calls of URLs.",
		}, func() float64 { used, _ := p.counts(); return float64(used) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "modelserve_pipelines_waiting", Help: "Events of steps that wait because their tenant has as many on their way as it may.",
		}, func() float64 { _, queued := p.counts(); return float64(queued) }),
	} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register the metrics of pipelines: %w", err)
		}
	}
	return nil
}

// taken notes a row that was taken.
func (m *metrics) taken(row execution.Branch) {
	m.delay.WithLabelValues(string(row.What)).Observe(max(time.Since(row.Due), 0).Seconds())
}

// saved counts a change.
func (m *metrics) saved(s *decide.Saved) {
	for _, e := range s.Change.Events {
		switch {
		case e.Step != "":
			m.steps.WithLabelValues(string(e.Status)).Inc()
		case e.Type != execution.ExecutionAccepted:
			m.executions.WithLabelValues(string(e.Status)).Inc()
		}
		if e.Ends() {
			m.duration.WithLabelValues(string(e.Status)).Observe(max(s.Execution.Finished.Sub(s.Execution.Created), 0).Seconds())
		}
	}
	for i := range s.Change.Put {
		switch b := &s.Change.Put[i]; {
		case b.What != execution.Send || b.Due.Equal(s.Now):
		case b.Breaks > 0:
			m.retries.WithLabelValues("break").Inc()
		case b.Attempts > 0:
			m.retries.WithLabelValues("attempt").Inc()
		}
	}
	if s.Change.Dead != nil {
		m.dead.WithLabelValues(m.pipelines.label(s.Execution.Pipeline)).Inc()
	}
	m.late.Add(float64(len(s.Change.Late)))
}
