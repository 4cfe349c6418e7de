package env_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/internal/env"
)

type storage struct {
	Bucket string `env:"BUCKET,required"`
	Parts  int    `env:"PARTS" envDefault:"4"`
}

type config struct {
	Port    int           `env:"PORT" envDefault:"8080"`
	Body    env.Size      `env:"MODELSERVE_MAX_BODY" envDefault:"32MiB"`
	Timeout time.Duration `env:"MODELSERVE_TIMEOUT" envDefault:"30s"`
	S3      storage       `envPrefix:"MODELSERVE_S3_"`
}

func (c *config) Check() []error {
	if c.Port < 0 || c.Port > 65535 {
		return []error{env.Faultf("PORT", "expected 0 to 65535, got %d", c.Port)}
	}
	return nil
}

func TestParse(t *testing.T) {
	t.Parallel()
	var got config
	if err := env.ParseFrom(&got, map[string]string{"PORT": "0", "MODELSERVE_MAX_BODY": "3 KB", "MODELSERVE_S3_BUCKET": "b"}); err != nil {
		t.Fatal(err)
	}
	want := config{Port: 0, Body: 3000, Timeout: 30 * time.Second, S3: storage{Bucket: "b", Parts: 4}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseReportsEveryFault(t *testing.T) {
	t.Parallel()
	err := env.ParseFrom(new(config), map[string]string{
		"PORT": "70000", "MODELSERVE_MAX_BODY": "lots", "MODELSERVE_TIMEOUT": "soon", "MODELSERVE_S3_PARTS": "x",
	})
	if err == nil {
		t.Fatal("a bad environment was taken")
	}
	for _, variable := range []string{"PORT: expected 0 to 65535", "MODELSERVE_MAX_BODY: expected a size", "MODELSERVE_TIMEOUT: expected a duration", "MODELSERVE_S3_PARTS: ", "MODELSERVE_S3_BUCKET: is required"} {
		if !strings.Contains(err.Error(), variable) {
			t.Errorf("no %q in:\n%v", variable, err)
		}
	}
	var fault *env.Fault
	if !errors.As(err, &fault) {
		t.Error("the faults are not Faults")
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"0": "0", "1024": "1KiB", "32MiB": "32MiB", "2 GiB": "2GiB", "1500": "1500", "1MB": "1000000"} {
		var s env.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s.String() != want {
			t.Errorf("%q reads as %v, %v, want %s", text, s, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "9223372036854775807GiB", "MiB"} {
		var s env.Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken as %v", text, s)
		}
	}
}

// TestSetToNothing holds that a variable of which nothing may be made by
// omission is not taken for unset when it is empty.
func TestSetToNothing(t *testing.T) {
	t.Parallel()
	type nested struct {
		Key string `env:"KEY" filled:"true"`
	}
	type config struct {
		Plain  string `env:"PLAIN"`
		Direct string `env:"DIRECT" filled:"true"`
		Nested nested `envPrefix:"IN_"`
	}
	for name, tc := range map[string]struct {
		environment map[string]string
		want        string
	}{
		"not set":         {nil, ""},
		"filled":          {map[string]string{"DIRECT": "a", "IN_KEY": "b"}, ""},
		"another's empty": {map[string]string{"PLAIN": ""}, ""},
		"empty":           {map[string]string{"DIRECT": ""}, "DIRECT: is set, and empty"},
		"blank, below":    {map[string]string{"IN_KEY": " \n"}, "IN_KEY: is set, and empty"},
	} {
		err := env.ParseFrom(new(config), tc.environment)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	var cfg struct {
		Port  int           `env:"PORT" envDefault:"8080"`
		Wait  time.Duration `env:"WAIT" envDefault:"5s"`
		Names []string      `env:"NAMES,required"`
		Inner struct {
			Size env.Size `env:"SIZE"`
		} `envPrefix:"INNER_"`
		own int
	}
	_ = cfg.own
	var out strings.Builder
	if err := env.Usage(&out, &cfg); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PORT        an integer", "default 8080", "WAIT        a duration such as 30s  default 5s", "NAMES       a list, with commas", "required", "INNER_SIZE  a size such as 32MiB"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
