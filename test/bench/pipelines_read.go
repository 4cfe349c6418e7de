package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/modelserveai/modelserve/functions/text-detect/textdetect"
	"github.com/modelserveai/modelserve/functions/text-orient/textorient"
	"github.com/modelserveai/modelserve/functions/text-recognize/textrecognize"
	"github.com/modelserveai/modelserve/internal/memory"
	"github.com/modelserveai/modelserve/pipelines/contract"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/serve"
)

// pageLines is how many lines of text the page has.
const pageLines = 30

// writePage draws a page of lines, which are those of the functions' own test data.
func writePage(path string) error {
	page := image.NewNRGBA(image.Rect(0, 0, 1000, 1900))
	draw.Draw(page, page.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	lines := make([]image.Image, 2)
	for i, name := range []string{"line.png", "long.png"} {
		data, err := os.ReadFile(filepath.Join("functions/text-recognize/testdata", name))
		if err != nil {
			return err
		}
		if lines[i], err = png.Decode(bytes.NewReader(data)); err != nil {
			return err
		}
	}
	for i := range pageLines {
		line := lines[i%len(lines)]
		at := image.Pt(60, 40+i*61)
		draw.Draw(page, line.Bounds().Add(at), line, line.Bounds().Min, draw.Over)
	}
	var text bytes.Buffer
	if err := png.Encode(&text, page); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o600)
}

// reading holds read-document on the local platform against the runs of its models
// alone, and against its functions called in turn.
func (o *options) reading(ctx context.Context, dir string) (rows []row, err error) {
	path := filepath.Join(dir, "page.png")
	if err := writePage(path); err != nil {
		return nil, err
	}
	page, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	progress("start a platform that reads documents")
	p, err := startPlatform(ctx, filepath.Join(dir, "reading", ".modelserve"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	models, err := startPage(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, models.stop()) }()
	var between []float64 // seconds of an execution in which no step ran
	ways := []*way{
		{name: "the pipeline", used: p.processor, do: func(ctx context.Context) error {
			rest, err := p.readDocument(ctx, page)
			between = append(between, rest.Seconds())
			return err
		}},
		{name: "its functions in turn", used: p.processor, do: func(ctx context.Context) error { return p.readInTurn(ctx, page) }},
		{name: "its models' runs", used: models.cpu, do: func(context.Context) error { return models.run() }},
	}
	for round := range o.rounds + 1 {
		for _, w := range ways {
			if err := w.measure(ctx, 3*o.turn, round > 0); err != nil { // the first waits for builds and loads
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
		}
		if round == 0 {
			between = nil
			continue
		}
		progress("a page, round %d of %d: %.0f ms (of processors %.0f), its functions in turn %.0f (%.0f), its models' runs %.0f (%.0f); between steps %.0f ms", round, o.rounds,
			1000*ways[0].took[round-1], 1000*ways[0].cost[round-1], 1000*ways[1].took[round-1], 1000*ways[1].cost[round-1], 1000*ways[2].took[round-1], 1000*ways[2].cost[round-1],
			1000*median(between))
	}
	runs, cost := ratios(ways[0].took, ways[2].took), ratios(ways[0].cost, ways[2].cost)
	turns, turnsCost := ratios(ways[0].took, ways[1].took), ratios(ways[0].cost, ways[1].cost)
	what := fmt.Sprintf("read-document locally, a page of %d lines", pageLines)
	bare, inTurn := "the runs of its models in a bare loop (%.0f ms)", "its functions called in turn (%.0f ms)"
	ms := func(seconds []float64) float64 { return 1000 * median(seconds) }
	return []row{
		{fmt.Sprintf("%s: median (%.0f ms)", what, ms(ways[0].took)), fmt.Sprintf(bare, ms(ways[2].took)), spread(runs), "≤ 1.25", rounded(runs) <= 1.25},
		{fmt.Sprintf("%s: processor time (%.0f ms)", what, ms(ways[0].cost)), fmt.Sprintf(bare, ms(ways[2].cost)), spread(cost), "—", true},
		{fmt.Sprintf("%s: median", what), fmt.Sprintf(inTurn, ms(ways[1].took)), spread(turns), "—", true},
		{fmt.Sprintf("%s: processor time", what), fmt.Sprintf(inTurn, ms(ways[1].cost)), spread(turnsCost), "—", true},
		{fmt.Sprintf("%s: what of it no step ran in", what), "—", fmt.Sprintf("%.0f ms", ms(between)), "—", true},
	}, nil
}

// way is one to read a page, and what it took in each round, in seconds.
type way struct {
	name       string
	do         func(context.Context) error
	used       func() (time.Duration, error) // of processors, by those who do it
	took, cost []float64
}

// measure does it three times at least, and once before: what was idle while others had
// their turn costs its first run half a second of processors.
func (w *way) measure(ctx context.Context, turn time.Duration, counts bool) error {
	if err := w.do(ctx); err != nil {
		return err
	}
	before, err := w.used()
	if err != nil {
		return err
	}
	var each []float64
	for began := time.Now(); len(each) < 3 || time.Since(began) < turn; {
		at := time.Now()
		if err := w.do(ctx); err != nil {
			return err
		}
		each = append(each, time.Since(at).Seconds())
	}
	after, err := w.used()
	if err == nil && counts {
		w.took, w.cost = append(w.took, median(each)), append(w.cost, (after-before).Seconds()/float64(len(each)))
	}
	return err
}

// processor is the time of processors that the platform and its functions have taken.
func (p *platform) processor() (time.Duration, error) {
	pids, err := p.processes("")
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, pid := range append(pids, p.cmd.Process.Pid) {
		s, err := readStat(pid)
		if err != nil {
			return 0, err
		}
		total += s.used
	}
	return total, nil
}

// ask sends a request to the platform, and reads its answer.
func (p *platform) ask(ctx context.Context, host, path, media string, body []byte, header ...string) ([]byte, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if host != "" {
		_, port, err := net.SplitHostPort(p.address)
		if err != nil {
			return nil, err
		}
		q.Host = host + ".default.localhost:" + port
	}
	q.Header.Set("Content-Type", media)
	q.Header.Set("X-API-Key", p.key)
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %.500s", res.Status, text)
	}
	return text, err
}

// readDocument has the pipeline read a page, and returns how long none of its steps ran.
func (p *platform) readDocument(ctx context.Context, page []byte) (time.Duration, error) {
	at := time.Now()
	text, err := p.ask(ctx, "", contract.PathOf(contract.StartPath, "read-document"), "image/png", page, contract.PreferHeader, "wait=60")
	if err != nil {
		return 0, err
	}
	between := time.Since(at)
	var x struct {
		contract.Execution

		Output struct{ Lines []struct{ Text string } } `json:"output"`
	}
	if err := json.Unmarshal(text, &x); err != nil {
		return 0, err
	}
	for _, s := range x.Steps {
		if s.StartedAt == nil || s.FinishedAt == nil {
			return 0, fmt.Errorf("step %s has no times: %.300s", s.Name, text)
		}
		between -= s.FinishedAt.Sub(*s.StartedAt)
	}
	return between, lineCount(len(x.Output.Lines))
}

func lineCount(n int) error {
	if n != pageLines {
		return fmt.Errorf("expected %d lines, got %d", pageLines, n)
	}
	return nil
}

// The forms that the functions take, and what of their answers is needed.
type (
	pageForm struct {
		Image        []byte          `json:"image"`
		Polygons     [][4][2]float64 `json:"polygons,omitempty"`
		Orientations []int           `json:"orientations,omitempty"`
	}
	pageAnswer struct {
		Boxes []struct {
			Polygon [4][2]float64 `json:"polygon"`
		} `json:"boxes"`
		Lines []struct {
			Text        string `json:"text"`
			Orientation int    `json:"orientation"`
		} `json:"lines"`
	}
)

// readSteps calls text-detect, text-orient and text-recognize one after the other.
func readSteps(page []byte, call func(function, media string, body []byte) ([]byte, error)) error {
	var a pageAnswer
	form := pageForm{Image: page}
	for _, function := range []string{"text-detect", "text-orient", "text-recognize"} {
		media, body := "image/png", page
		if function != "text-detect" {
			var err error
			if body, err = json.Marshal(form); err != nil {
				return err
			}
			media = "application/json"
		}
		text, err := call(function, media, body)
		if err == nil {
			err = json.Unmarshal(text, &a)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", function, err)
		}
		switch function {
		case "text-detect":
			for _, b := range a.Boxes {
				form.Polygons = append(form.Polygons, b.Polygon)
			}
		case "text-orient":
			for _, l := range a.Lines {
				form.Orientations = append(form.Orientations, l.Orientation)
			}
		}
	}
	return lineCount(len(a.Lines))
}

// readInTurn calls the functions by HTTP, as a caller without pipelines does.
func (p *platform) readInTurn(ctx context.Context, page []byte) error {
	return readSteps(page, func(function, media string, body []byte) ([]byte, error) {
		return p.ask(ctx, function, "/", media, body)
	})
}

// pageModels is a process that has nothing but ONNX Runtime and the models that read a
// page, and runs them on what they are run on for it.
type pageModels struct {
	*process
	in  io.WriteCloser
	out *bufio.Reader
}

func startPage(path string) (*pageModels, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	m := &pageModels{process: &process{cmd: exec.Command(self, "-page", path)}}
	m.cmd.Stderr = m.process
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	m.out = bufio.NewReader(out)
	return m, m.cmd.Start()
}

// run has the models run once for the page.
func (m *pageModels) run() error {
	_, err := io.WriteString(m.in, "run\n")
	if err == nil {
		_, err = m.out.ReadString('\n')
	}
	if err != nil {
		return fmt.Errorf("the models' runs: %w\n%s", err, m.tail())
	}
	return nil
}

func (m *pageModels) stop() error { return errors.Join(m.in.Close(), m.cmd.Wait()) }

// servePage is the process: it reads the page once by the functions' codecs, keeps what
// they ran their models on, and runs that at each line of its input.
func servePage(ctx context.Context, path string, in io.Reader, out io.Writer) (err error) {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	found, err := ort.FindLibrary()
	if err != nil {
		return err
	}
	library, err := ort.Open(found)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, library.Close()) }()
	codecs := map[string]serve.Codec{
		"text-detect": textdetect.New(textdetect.Options{}), "text-orient": textorient.New(textorient.Options{}), "text-recognize": textrecognize.New(textrecognize.Options{}),
	}
	var all []*pageRunner
	defer func() {
		for _, r := range all {
			err = errors.Join(err, r.session.Close())
		}
	}()
	err = readSteps(page, func(function, media string, body []byte) ([]byte, error) {
		r, err := openRunner(library, function)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
		free := func(context.Context, int64) error { return nil }
		answer, err := codecs[function].Answer(ctx, serve.Payload{ContentType: media, Body: body, Reserve: free, Return: func(int64) {}}, r)
		if err != nil {
			return nil, err
		}
		return json.Marshal(answer)
	})
	if err != nil {
		return err
	}
	for orders := bufio.NewScanner(in); orders.Scan(); {
		for _, r := range all {
			if err := r.again(ctx); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(out, "done"); err != nil {
			return err
		}
	}
	return nil
}

// pageRunner is a model, and what it was run on.
type pageRunner struct {
	session *ort.Session
	info    *serve.ModelInfo

	mu   sync.Mutex
	runs [][]infer.Tensor
}

func openRunner(library *ort.Library, name string) (*pageRunner, error) {
	model, err := find(subjects(""), name)
	if err != nil {
		return nil, err
	}
	session, err := library.Open(model.file, ort.Options{})
	if err != nil {
		return nil, err
	}
	metadata, err := session.Metadata()
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	return &pageRunner{session: session, info: &serve.ModelInfo{Signature: *session.Signature(), Metadata: metadata}}, nil
}

// Info implements serve.Runner.
func (r *pageRunner) Info() *serve.ModelInfo { return r.info }

// Run implements serve.Runner, and keeps a copy of what it is given.
func (r *pageRunner) Run(ctx context.Context, inputs []infer.Tensor) ([]infer.Tensor, error) {
	kept := make([]infer.Tensor, len(inputs))
	for i := range inputs {
		values, err := infer.Values[float32](&inputs[i])
		if err != nil {
			return nil, err
		}
		kept[i] = infer.NewTensor(inputs[i].Name, slices.Clone(inputs[i].Shape), slices.Clone(values))
	}
	r.mu.Lock()
	r.runs = append(r.runs, kept)
	r.mu.Unlock()
	outputs, _, err := r.session.Run(ctx, memory.Unbounded{}, inputs, nil) // the process's end releases them
	return outputs, err
}

// again makes all the runs, as many at once as there are processors.
func (r *pageRunner) again(ctx context.Context) error {
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, inputs := range r.runs {
		group.Go(func() error { return runOnce(ctx, r.session, inputs) })
	}
	return group.Wait()
}
