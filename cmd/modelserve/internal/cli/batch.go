package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelserveai/modelserve/publish"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/model"
)

// batchFlags are the publisher's words on batches.
type batchFlags struct {
	size   int
	delay  time.Duration
	axis   int
	ragged []string
}

func (f *batchFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.size, "max-batch-size", 0, "the most rows `N` of a batch; 1 is no batching (as many as pays)")
	cmd.Flags().DurationVar(&f.delay, "max-delay", 0, "how long (`DURATION`) to wait for more rows, such as 2ms (not at all)")
	cmd.Flags().IntVar(&f.axis, "batch-axis", 0, "0: rows of the first axis are independent, whether or not the graph shows it")
	cmd.Flags().StringArrayVar(&f.ragged, "ragged", nil, "an axis that shorter requests are padded along, as `INPUT=AXIS[:PAD]` (repeatable)")
}

// apply reads the flags into the request.
func (f *batchFlags) apply(cmd *cobra.Command, req *publish.Request) (err error) {
	if cmd.Flags().Changed("max-batch-size") && (f.size < 1 || f.size > model.MaxBatch) {
		return usagef("--max-batch-size: expected 1 to %d, got %d", model.MaxBatch, f.size)
	}
	most := model.MaxDelay * time.Microsecond
	if f.delay < 0 || f.delay > most || f.delay%time.Microsecond != 0 {
		return usagef("--max-delay: expected whole microseconds up to %s, such as 2ms, got %s", most, f.delay)
	}
	if f.size == 1 && f.delay > 0 {
		return usagef("--max-delay: with --max-batch-size 1 no request waits for another; use one of the two")
	}
	if f.axis != 0 {
		return usagef("--batch-axis: expected 0, the only axis along which requests are joined, got %d", f.axis)
	}
	if req.IndependentRows = cmd.Flags().Changed("batch-axis"); req.IndependentRows && f.size == 1 {
		return usagef("--batch-axis: nothing is joined with --max-batch-size 1")
	}
	req.Batching = model.Batching{MaxBatchSize: f.size, MaxDelay: f.delay.Microseconds()}
	req.Ragged, err = parseRagged(f.ragged)
	return err
}

// parseRagged reads INPUT=AXIS[:PAD].
func parseRagged(flags []string) ([]publish.Ragged, error) {
	var all []publish.Ragged
	for _, flag := range flags {
		name, rest, ok := cutLast(flag, "=")
		axis, pad, padded := strings.Cut(rest, ":")
		r := publish.Ragged{Input: name}
		var err error
		if r.Axis, err = strconv.Atoi(axis); !ok || name == "" || err != nil || r.Axis < 1 {
			return nil, usagef("--ragged: expected INPUT=AXIS or INPUT=AXIS:PAD, such as ids=1:0 (axis 0 is the batch's), got %q", flag)
		}
		if padded {
			if r.Pad, err = strconv.ParseFloat(pad, 64); err != nil {
				return nil, usagef("--ragged: expected a number to pad with, as in %s=%d:0, got %q", name, r.Axis, pad)
			}
		}
		all = append(all, r)
	}
	return all, nil
}

// pays is what batches must gain to be worth a word: less is noise.
const pays = 1.05

// gain is how many times as many rows a second a batch answers as single ones
// do, with every processor busy.
func gain(batches []model.BatchCost, i int) float64 {
	one := float64(batches[0].Busy) / float64(batches[0].Size)
	return one / (float64(batches[i].Busy) / float64(batches[i].Size))
}

// measuredText is one line on what was measured; "" where nothing was.
func measuredText(m *model.Manifest) string {
	if m.Cost == nil || len(m.Cost.Batches) == 0 {
		return ""
	}
	batches := m.Cost.Batches
	one := fmt.Sprintf("a run takes %s", shortTime(batches[0].Alone))
	if len(batches) == 1 {
		return one
	}
	best := 0
	for i := range batches {
		if gain(batches, i) > gain(batches, best) {
			best = i
		}
	}
	if gain(batches, best) < pays {
		return one + ", and batches answer no more rows a second than single ones"
	}
	return fmt.Sprintf("%s, and batches of %d answer %.1f times as many rows a second as single ones", one, batches[best].Size, gain(batches, best))
}

// costTable is the curve: times of a run, and rows a second of one processor
// when all are busy.
func costTable(batches []model.BatchCost) string {
	t := table{head: []string{"ROWS", "ALONE", "BUSY", "ROWS/S", "GAIN"}}
	for i, b := range batches {
		t.add(strconv.Itoa(b.Size), shortTime(b.Alone), shortTime(b.Busy),
			strconv.FormatFloat(float64(b.Size)*1e9/float64(b.Busy), 'f', 0, 64), fmt.Sprintf("%.2fx", gain(batches, i)))
	}
	return t.String()
}

// shortTime writes nanoseconds with three digits.
func shortTime(ns int64) string {
	d := time.Duration(ns)
	for _, unit := range []struct {
		size time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "µs"}} {
		if d >= unit.size {
			v := float64(d) / float64(unit.size)
			switch {
			case v < 10:
				return fmt.Sprintf("%.2f %s", v, unit.name)
			case v < 100:
				return fmt.Sprintf("%.1f %s", v, unit.name)
			default:
				return fmt.Sprintf("%.0f %s", v, unit.name)
			}
		}
	}
	return fmt.Sprintf("%d ns", ns)
}

// batchesText describes whether and how requests are joined.
func batchesText(m *model.Manifest) string {
	if m.BatchAxis == nil {
		return "no: requests run one by one"
	}
	text := fmt.Sprintf("along axis %d", *m.BatchAxis)
	if b := m.Batching; b != nil {
		if b.IndependentRows {
			text += " on the publisher's word"
		}
		if b.MaxBatchSize == 1 {
			return text + ", but one row at a time"
		}
		if b.MaxBatchSize > 1 {
			text += fmt.Sprintf(", at most %d rows", b.MaxBatchSize)
		}
		if b.MaxDelay > 0 {
			text += ", waiting up to " + (time.Duration(b.MaxDelay) * time.Microsecond).String()
		}
	}
	return text
}

// raggedText describes what becomes of an axis whose size may differ in a batch.
func raggedText(r *infer.Ragged) string {
	switch {
	case r.Of == "":
		return fmt.Sprintf("axis %d padded with %v", r.Axis, r.Pad)
	case r.Divide > 1:
		return fmt.Sprintf("axis %d follows %s by %d", r.Axis, r.Of, r.Divide)
	default:
		return fmt.Sprintf("axis %d follows %s", r.Axis, r.Of)
	}
}
