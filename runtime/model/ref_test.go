package model

import (
	"strings"
	"testing"

	"github.com/modelserveai/modelserve/problem"
)

func TestParseRef(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		want Ref
		part string // that an error names; "" is none
	}{
		"a name":                              {"churn", Ref{Name: "churn"}, ""},
		"a version":                           {"churn@3", Ref{"churn", 3}, ""},
		"the highest version":                 {"m@2147483647", Ref{"m", 2147483647}, ""},
		"nothing":                             {"", Ref{}, "model_name"},
		"no name":                             {"@3", Ref{}, "model_name"},
		"a path":                              {"../m@3", Ref{}, "model_name"},
		"a capital":                           {"Churn@3", Ref{}, "model_name"},
		"a space":                             {" churn@3", Ref{}, "model_name"},
		"a name that is long":                 {strings.Repeat("a", 64), Ref{}, "model_name"},
		"an empty version":                    {"churn@", Ref{}, "model_version"},
		"an alias":                            {"churn@stable", Ref{}, "model_version"},
		"version 0":                           {"churn@0", Ref{}, "model_version"},
		"a leading zero":                      {"churn@03", Ref{}, "model_version"},
		"a sign":                              {"churn@+3", Ref{}, "model_version"},
		"two versions":                        {"churn@3@4", Ref{}, "model_version"},
		"a version too high":                  {"churn@2147483648", Ref{}, "model_version"},
		"a name that is wrong, and a version": {"-@x", Ref{}, "model_name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseRef(tc.text)
			if got != tc.want || (err != nil) != (tc.part != "") {
				t.Fatalf("%+v, %v, want %+v", got, err, tc.want)
			}
			if err != nil {
				namesPart(t, err, tc.part)
				return
			}
			if got.String() != tc.text {
				t.Errorf("%q became %q", tc.text, got)
			}
		})
	}
}

func TestParsePinnedWantsAVersion(t *testing.T) {
	t.Parallel()
	if got, err := ParsePinned("churn@3"); err != nil || got != (Ref{"churn", 3}) {
		t.Errorf("%+v, %v", got, err)
	}
	for text, part := range map[string]string{"churn": "model_version", "churn@": "model_version", "Churn": "model_name", "*": "model_name"} {
		got, err := ParsePinned(text)
		if err == nil || got != (Ref{}) {
			t.Errorf("%q: %+v, %v", text, got, err)
			continue
		}
		namesPart(t, err, part)
	}
}

// namesPart holds that an error is the caller's, and names the part that is wrong.
func namesPart(t *testing.T, err error, part string) {
	t.Helper()
	if problem.CodeOf(err) != problem.InvalidArgument || !strings.HasPrefix(err.Error(), part+": ") {
		t.Errorf("error %v, want one of %s", err, part)
	}
}

func TestRefCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ref  Ref
		part string
	}{
		"good":               {Ref{"m", 1}, ""},
		"no version":         {Ref{Name: "m"}, "model_version"},
		"below":              {Ref{"m", -1}, "model_version"},
		"above":              {Ref{"m", 1 << 31}, "model_version"},
		"a name of a parent": {Ref{"..", 1}, "model_name"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.ref.Check()
			if (err != nil) != (tc.part != "") {
				t.Fatal(err)
			}
			if err != nil {
				namesPart(t, err, tc.part)
			}
		})
	}
}

func FuzzParseRef(f *testing.F) {
	for _, text := range []string{"m", "m@1", "m@", "@", "m@1@2", "m@00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := ParseRef(text)
		if err == nil && ref.String() != text {
			t.Errorf("%q became %q", text, ref)
		}
		if pinned, again := ParsePinned(text); again == nil && (err != nil || pinned != ref || pinned.Check() != nil) {
			t.Errorf("%q: %+v and %+v, %v", text, ref, pinned, err)
		}
	})
}
