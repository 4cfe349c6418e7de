package ort_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/internal/memory"

	"github.com/modelserveai/modelserve/internal/locale"
	"github.com/modelserveai/modelserve/runtime/infer"
	"github.com/modelserveai/modelserve/runtime/ort"
	"github.com/modelserveai/modelserve/runtime/ort/onnxtest"
)

// lower is a model that puts strings into lower case in a locale, as
// scikit-learn's text models begin; nil names none.
func lower(locale *string) onnxtest.Model {
	attributes := []onnxtest.Attribute{{Name: "case_change_action", String: "LOWER"}}
	if locale != nil {
		attributes = append(attributes, onnxtest.Attribute{Name: "locale", String: *locale})
	}
	return onnxtest.Model{Opset: 10, Graph: onnxtest.Graph{
		Nodes:   []onnxtest.Node{{Op: "StringNormalizer", Inputs: []string{"x"}, Outputs: []string{"y"}, Attributes: attributes}},
		Inputs:  []onnxtest.Value{{Name: "x", Element: onnxtest.String, Shape: []any{"n"}}},
		Outputs: []onnxtest.Value{{Name: "y", Element: onnxtest.String, Shape: []any{"n"}}},
	}}
}

// lowered runs a model of lower.
func lowered(t *testing.T, s *ort.Session, text string) string {
	t.Helper()
	out, release, err := s.Run(t.Context(), memory.Unbounded{}, []infer.Tensor{infer.NewBytes("x", []int64{1}, text)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	got, err := infer.Strings(&out[0])
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	return string(got[0])
}

// TestTextModelsHaveTheServersLocale holds that a text model runs whatever is
// installed here, in the locale that it runs in on every server, and that one
// which asks for another locale is refused as it is there.
func TestTextModelsHaveTheServersLocale(t *testing.T) {
	t.Parallel()
	l := open(t)
	if err := l.Locale(); err != nil {
		t.Fatal(err)
	}
	named := func(s string) *string { return &s }
	for name, tc := range map[string]struct {
		locale  *string
		refused bool
	}{
		"none named":    {nil, false},
		"the default":   {named(locale.Name), false},
		"of no country": {named("C.UTF-8"), false},
		"the user's":    {named(""), false},
		"another":       {named("de_DE.UTF-8"), true},
		"Turkish":       {named("tr_TR.UTF-8"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := lower(tc.locale).Write(t)
			if tc.refused {
				_, err := l.Open(path, ort.Options{})
				if err == nil || !strings.Contains(err.Error(), "on every server there are en_US.UTF-8 and C.UTF-8") || strings.Contains(err.Error(), "language-pack") {
					t.Errorf("a locale that servers have not: %v", err)
				}
				return
			}
			if got := lowered(t, load(t, l, path), "ßE ÉÜ Ж Ω Ꙁ 𐐀 I"); got != "ße éü ж ω ꙁ 𐐨 i" {
				t.Error(got)
			}
		})
	}
}

// It changes the environment of the process: no other test may run beside it.
func TestLocaleIsLoadedFromWhereItCan(t *testing.T) {
	l := open(t)
	good, bad, readOnly := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "not-there")
	if err := locale.Write(good); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(bad, "en_US.utf8"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bad, "en_US.utf8", "LC_CTYPE"), []byte("of another C library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		image     string
		temporary []string
		fails     bool
	}{
		"from the image":              {good, nil, false},
		"with no image":               {readOnly, []string{t.TempDir()}, false},
		"with an image of another":    {bad, []string{t.TempDir()}, false},
		"with a folder read-only":     {readOnly, []string{readOnly, t.TempDir()}, false},
		"with nowhere to write":       {readOnly, []string{readOnly}, true},
		"with a C library that won't": {bad, nil, true},
	} {
		err := ort.LoadLocale(tc.image, tc.temporary...)
		if (err != nil) != tc.fails || err != nil && !strings.Contains(err.Error(), "need not be those of servers") {
			t.Errorf("%s: %v", name, err)
		}
		for _, dir := range tc.temporary {
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("%s: left behind: %v", name, left)
			}
		}
		// Whether or not: what was loaded stays good, its files gone or not.
		if got := lowered(t, load(t, l, lower(nil).Write(t)), "É"); got != "é" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
