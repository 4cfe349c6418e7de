package expr_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/eventing/expr"
)

func compile(t testing.TB, text string, l expr.Limits) *expr.Expression {
	t.Helper()
	c, err := expr.NewCompiler(l)
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Compile(text)
	if err != nil {
		t.Fatalf("compile %s: %v", text, err)
	}
	return e
}

func values() expr.Values {
	return expr.Values{
		Input: json.RawMessage(`{"image":"aGk=","n":3,"f":1.5,"whole":2.0,"big":12345678901234567890,"none":null,"key":"secret-value"}`),
		Event: json.RawMessage(`{"type":"a.b"}`),
		Steps: map[string]json.RawMessage{
			"detect":     json.RawMessage(`{"boxes":[{"polygon":[[0,1],[2,3.25]],"score":0.5},{"polygon":[],"score":1}]}`),
			"read-lines": json.RawMessage(`{"lines":[{"text":"a"},{"text":"b"}]}`),
			"skipped":    json.RawMessage(`null`),
		},
		Item: json.RawMessage(`[1,2]`), Index: 7,
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`input`: `{"big":12345678901234567000,"f":1.5,"image":"aGk=","key":"secret-value","n":3,"none":null,"whole":2}`,
		`{"image": input.image, "polygons": steps.detect.boxes.map(b, b.polygon)}`: `{"image":"aGk=","polygons":[[[0,1],[2,3.25]],[]]}`,
		`{"orientations": [0, 180]}`:                          `{"orientations":[0,180]}`,
		`steps["read-lines"].lines.map(l, l.text).join("\n")`: `"a\nb"`,
		`steps.skipped`:                                  `null`,
		`steps.skipped == null`:                          `true`,
		`size(steps.detect.boxes) > 0`:                   `true`,
		`has(steps.detect.boxes) && !has(input.nothing)`: `true`,
		`event.type`:                                     `"a.b"`,
		`[item, index]`:                                  `[[1,2],7]`,
		`lists.range(2).map(i, {"text": steps["read-lines"].lines[i].text, "score": steps.detect.boxes[i].score})`: `[{"score":0.5,"text":"a"},{"score":1,"text":"b"}]`,
		`steps.detect.boxes.map(b, b.score * 2.5)`: `[1.25,2.5]`,
		`input.whole + 0.5 - input.n / 2.0`:        `1`,
		`input.whole / 2`:                          `1`,
		`input.f > 1 && input.n == 3.0`:            `true`,
		`1e300`:                                    `1e+300`,
		`-0.0`:                                     `0`,
		`b"hi"`:                                    `"aGk="`,
		`timestamp("2026-01-02T03:04:05Z")`:        `"2026-01-02T03:04:05Z"`,
		`duration("90s")`:                          `"90s"`,
		`[[1], [2, 3]].flatten() + [4]`:            `[1,2,3,4]`,
		`[3, 1, 2, 1].sort().distinct().reverse().slice(0, 2)`:                   `[3,2]`,
		`"  Ab,c ".trim().lowerAscii().upperAscii().replace("B", "").split(",")`: `["A","C"]`,
		`["häuser".indexOf("s"), "aba".lastIndexOf("a"), "x".indexOf("y")]`:      `[3,2,-1]`,
		`"häuser".substring(1, 3) + "abc".charAt(1) + "abc".substring(2)`:        `"äubc"`,
		`"abc".matches("^a.c$")`: `true`,
		`[1, 2, 3].filter(x, x > 1).exists(x, x == 2) && [].all(x, false)`: `true`,
		`[[1, 2], [3]].map(x, x.map(y, y + 1))`:                            `[[2,3],[4]]`,
		`input.n > 2 ? "many" : "few"`:                                     `"many"`,
		`[input == {"a": 1}, {"a": 1} == item, event == {"type": "a.b"}, {"type": "a.b"} == event, event == event, event != input]`: `[false,false,true,true,true,true]`,
		`["type" in event, "x" in event, 1 in event, event["type"], type(event) == map, size(event)]`:                               `[true,false,false,"a.b",true,1]`,
		`"n" in input && 2 in [1, 2]`: `true`,
		`input.map(k, k).size()`:      `7`,
		`string(input.n) + "°"`:       `"3°"`,
	} {
		got, err := compile(t, text, expr.Limits{}).Evaluate(t.Context(), values())
		if err != nil || string(got) != want {
			t.Errorf("%s\ngot  %s, %v\nwant %s", text, got, err, want)
		}
	}
}

func TestReads(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		`1`:                              nil,
		`input.a + steps.b.c + index`:    {"index", "input", "steps.b"},
		`steps["a-b"].map(x, [x, item])`: {"item", "steps.a-b"},
		`has(steps.x) ? event.type : steps.y["z"]`: {"event", "steps.x", "steps.y"},
		`{"k": steps.a}.k == [steps.b][0]`:         {"steps.a", "steps.b"},
	} {
		if diff := cmp.Diff(want, compile(t, text, expr.Limits{}).Reads()); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestRefusesTexts(t *testing.T) {
	t.Parallel()
	c, err := expr.NewCompiler(expr.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                      "got nothing",
		" ":                     "got nothing",
		"steps":                 "1:1: steps itself",
		"size(steps)":           "1:6: steps itself",
		`steps[input.x]`:        "steps itself",
		`steps.map(s, s)`:       "steps itself",
		`[1].map(input, input)`: "another name than input",
		`steps.read-lines`:      "1:12: undeclared reference to 'lines'",
		"input.\n  foo(":        "2:",
		`nothing`:               "1:1: undeclared reference",
		`"a".matches("(")`:      "invalid matches argument",
		`"a".matches("` + strings.Repeat("a{900}", 100) + `")`:                        "at most 10000 instructions",
		`matches("a", "((a{10}){10}b{100}){10}` + strings.Repeat("c{999}", 10) + `")`: "at most 10000 instructions",
		strings.Repeat(`"a".matches("a{999}")||`, 11) + "true":                        "at most 10000 instructions together",
		`["a"].all(a, a.matches("` + strings.Repeat("a", 1001) + `"))`:                "at most 1000 bytes",
		`1 + "a"`:                        "no matching overload",
		`google.protobuf.Int64Value{}`:   "",
		`@result`:                        "",
		`[1].map(x, __result__)`:         "undeclared",
		"'\xff'":                         "UTF-8",
		strings.Repeat("1+", 4000) + "1": "at most 4096 bytes",
		strings.Repeat("[", 2000):        "",
		strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000): "",
	} {
		_, err := c.Compile(text)
		var known *expr.Error
		if !errors.As(err, &known) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %q", text, err, want)
		}
	}
}

func TestFailuresRepeatNoValues(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`input.nothing`:                      `1:6: there is no such field: "nothing"`,
		`input[input.key]`:                   `there is no such field`,
		`steps.skipped.boxes`:                `: "boxes"`,
		`steps.detect.boxes[9].score`:        `the list has no such element`,
		`input.n / 0`:                        `division by zero`,
		`1.0 / 0.0`:                          `NaN or infinite`,
		`9223372036854775807 + index`:        `a number is out of range`,
		`int(input.key)`:                     `it has no value`,
		`input.key + 1`:                      `"+"`,
		`timestamp(input.key)`:               ``,
		`{1: 2}`:                             `names are strings`,
		`int`:                                `expected a value that JSON can express`,
		`input.key.charAt(99)`:               `no such character`,
		`input.key.matches(input.key + "(")`: `expected a regular expression`,
	} {
		_, err := compile(t, text, expr.Limits{}).Evaluate(t.Context(), values())
		var known *expr.Error
		if !errors.As(err, &known) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret-value") {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestWhatIsMissing(t *testing.T) {
	t.Parallel()
	_, err := compile(t, `steps.a`, expr.Limits{}).Evaluate(t.Context(), expr.Values{})
	if err == nil || err.Error() != "steps.a has no value" {
		t.Errorf("got %v", err)
	}
	got, err := compile(t, `event`, expr.Limits{}).Evaluate(t.Context(), expr.Values{})
	if err != nil || string(got) != "null" {
		t.Errorf("no event: got %s, %v", got, err)
	}
	_, err = compile(t, `size(input)`, expr.Limits{}).Evaluate(t.Context(), expr.Values{Input: []byte("[" + strings.Repeat("1,", 1_000_000) + "1]")})
	if !errors.Is(err, expr.ErrLimit) {
		t.Errorf("a million values: got %v", err)
	}
	for _, text := range []string{`{`, `{"a":1,"a":2}`, `1 2`, `1e999`, strings.Repeat("[", 200) + strings.Repeat("]", 200)} {
		if _, err := compile(t, `input`, expr.Limits{}).Evaluate(t.Context(), expr.Values{Input: []byte(text)}); err == nil {
			t.Errorf("input %.20s was read", text)
		}
	}
}

// What grows fast ends soon, whichever way it grows.
func TestLimits(t *testing.T) {
	t.Parallel()
	input := json.RawMessage(`{"text":"` + strings.Repeat("a", 1000) + `","list":[` + strings.Repeat("1,", 999) + `1]}`)
	for name, text := range map[string]string{
		"shared lists":       `[[1]]` + strings.Repeat(`.map(a, [a, a])`, 28),
		"compared":           `[[1]]` + strings.Repeat(`.map(a, [a, a])`, 20) + `.all(a, input.list.all(i, a == a))`,
		"shared objects":     `[1]` + strings.Repeat(`.map(a, {"a": a, "b": a})`, 28),
		"concatenated":       `[[1]]` + strings.Repeat(`.map(a, a + a)`, 28),
		"shared by macros":   `[1]` + strings.Repeat(`.map(a, [1, 2].map(i, a))`, 26),
		"strings":            `["aa"]` + strings.Repeat(`.map(a, a + a)`, 28),
		"replaced":           `["aa"]` + strings.Repeat(`.map(a, a.replace("a", "aaaaaaaaaa"))`, 28),
		"joined":             `[["a"]]` + strings.Repeat(`.map(a, [a.join("aaaaaaaa"), a.join("")])`, 28),
		"flattened":          `[[1]]` + strings.Repeat(`.map(a, [a, a].flatten())`, 28),
		"loops":              `input.list.all(a, input.list.all(b, input.list.all(c, a == b || c == 1)))`,
		"sizes":              `input.list.all(a, input.list.all(b, size(input.text) > 1))`,
		"split":              `input.list.all(a, input.list.all(b, size(input.text.split("")) > 1))`,
		"distinct":           `input.list.all(a, size(input.list.distinct()) > 0)`,
		"ranges":             `lists.range(100000).map(a, lists.range(100000))`,
		"regular expression": `input.list.all(a, input.list.all(b, !input.text.matches("(a*)*b")))`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			e := compile(t, text, expr.Limits{Cost: 100_000, Size: 1 << 20})
			_, err := e.Evaluate(t.Context(), expr.Values{Input: input})
			if !errors.Is(err, expr.ErrLimit) {
				t.Errorf("got %v after %v, want ErrLimit", err, time.Since(began))
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestOneCallDoesNotOutlastTheCost holds that what costs too much is not begun: no
// deadline interrupts a single call.
func TestOneCallDoesNotOutlastTheCost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, input string }{
		"counted repetitions": {
			`input.text.matches(input.pattern)`,
			`{"text":"` + strings.Repeat("a", 20_000) + `","pattern":"` + strings.Repeat("a{0,900}", 100) + `b"}`,
		},
		"long lists that differ at their ends": {
			`lists.range(1000).map(i, input + [i]).distinct()`,
			`[` + strings.Repeat("0,", 2999) + `0]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := compile(t, c.text, expr.Limits{})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			_, err := e.Evaluate(ctx, expr.Values{Input: json.RawMessage(c.input)})
			if !errors.Is(err, expr.ErrLimit) || ctx.Err() != nil {
				t.Errorf("got %v, and %v of the deadline; expected that it is over the limits at once", err, ctx.Err())
			}
		})
	}
}

func TestTheContextEndsIt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := compile(t, `lists.range(1000).map(x, x).size()`, expr.Limits{}).Evaluate(ctx, expr.Values{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestBoolAndList(t *testing.T) {
	t.Parallel()
	if yes, err := compile(t, `input.n == 3`, expr.Limits{}).Bool(t.Context(), values()); err != nil || !yes {
		t.Errorf("got %v, %v", yes, err)
	}
	if _, err := compile(t, `input.n`, expr.Limits{}).Bool(t.Context(), values()); err == nil || err.Error() != "expected true or false, got a number" {
		t.Errorf("got %v", err)
	}
	items, err := compile(t, `steps.detect.boxes.map(b, b.score)`, expr.Limits{}).List(t.Context(), values(), 2)
	if diff := cmp.Diff([]json.RawMessage{[]byte("0.5"), []byte("1")}, items); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := compile(t, `item`, expr.Limits{}).List(t.Context(), values(), 1); !errors.Is(err, expr.ErrLimit) {
		t.Errorf("two items of at most one: got %v", err)
	}
	if _, err := compile(t, `input`, expr.Limits{}).List(t.Context(), values(), 1); err == nil {
		t.Error("an object was a list")
	}
}

// One expression serves many at once, those that fail too.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	good, bad := compile(t, `[input.n].map(x, x * 2)`, expr.Limits{}), compile(t, `input.key + 1`, expr.Limits{})
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 50 {
				if got, err := good.Evaluate(t.Context(), values()); err != nil || string(got) != "[6]" {
					t.Errorf("got %s, %v", got, err)
				}
				if _, err := bad.Evaluate(t.Context(), values()); err == nil {
					t.Error("it had a value")
				}
			}
		})
	}
	wait.Wait()
}

func FuzzExpression(f *testing.F) {
	for _, text := range []string{`input`, `steps.a.map(x, x + 1)`, `{"a": [input, item]}`, `steps["a"].b[0] > 1.5`, `input.join(",").split("")`, `[[1]].map(a, [a, a])`} {
		f.Add(text, `{"b":[1,2.5,"x",null]}`)
	}
	c, err := expr.NewCompiler(expr.Limits{Cost: 10_000, Size: 10_000})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		began := time.Now()
		defer func() {
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		}()
		e, err := c.Compile(text)
		if err != nil {
			return
		}
		raw := json.RawMessage(value)
		got, err := e.Evaluate(t.Context(), expr.Values{Input: raw, Item: raw, Event: raw, Steps: map[string]json.RawMessage{"a": raw}})
		if err != nil {
			var known *expr.Error
			if !errors.As(err, &known) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if !json.Valid(got) || len(got) > 10_000 {
			t.Fatalf("got %d bytes: %.100s", len(got), got)
		}
		again, err := compileEcho(c).Evaluate(t.Context(), expr.Values{Input: got})
		if err != nil || string(again) != string(got) {
			t.Fatalf("%s became %s, %v", got, again, err)
		}
	})
}

func compileEcho(c *expr.Compiler) *expr.Expression {
	e, err := c.Compile("input")
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return e
}

// What stands for JSON while an expression reads it takes no more than what callers
// charge for it.
//
//nolint:paralleltest // it counts what the process allocates
func TestMemoryOfValues(t *testing.T) {
	const n, value, text = 20_000, 128, 4 // runtime/serve charges so
	e := compile(t, `size(input)`, expr.Limits{})
	for name, one := range map[string]string{"empty lists": `[],`, "empty objects": `{},`, "small objects": `{"a":1},`, "numbers": `1.5,`, "points": `[1,2],`, "boxes": `{"score":0.5,"polygon":[[1,2],[3,4]]},`} {
		input := json.RawMessage("[" + strings.Repeat(one, n-1) + strings.TrimSuffix(one, ",") + "]")
		charged := text*len(input) + value*(strings.Count(string(input), ",")+strings.Count(string(input), "[")+strings.Count(string(input), "{")+1)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := e.Evaluate(t.Context(), expr.Values{Input: input}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if took := int(after.TotalAlloc - before.TotalAlloc); took > charged*3/2 { // garbage is counted with it
			t.Errorf("%s take %d bytes, and %d are charged", name, took, charged)
		}
	}
}
