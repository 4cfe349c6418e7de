package infer_test

import (
	"testing"

	"github.com/modelserveai/modelserve/problem"
	"github.com/modelserveai/modelserve/runtime/infer"
)

func TestJSONLength(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		values []string
		want   int
		bad    bool
	}{
		"none":          {want: infer.NoHeader},
		"nothing":       {values: []string{"0"}, want: 0},
		"a number":      {values: []string{"37"}, want: 37},
		"the largest":   {values: []string{"2147483647"}, want: 1<<31 - 1},
		"too large":     {values: []string{"2147483648"}, bad: true},
		"a plus":        {values: []string{"+5"}, bad: true},
		"a minus":       {values: []string{"-0"}, bad: true},
		"an underscore": {values: []string{"1_0"}, bad: true},
		"hexadecimal":   {values: []string{"0x10"}, bad: true},
		"a list":        {values: []string{"5, 5"}, bad: true},
		"empty":         {values: []string{""}, bad: true},
		"two":           {values: []string{"5", "6"}, bad: true},
		"two, equal":    {values: []string{"5", "5"}, bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := infer.JSONLength(tc.values)
			if tc.bad != (err != nil) || err == nil && got != tc.want || err != nil && problem.CodeOf(err) != problem.InvalidArgument {
				t.Errorf("%d, %v", got, err)
			}
		})
	}
}

func TestJSONIsUTF8(t *testing.T) {
	t.Parallel()
	for contentType, good := range map[string]bool{
		"application/json": true, "application/json; charset=utf-8": true, `Application/JSON;charset="UTF-8"`: true, "application/json;": true,
		"application/json; charset=": false, "application/json; charset=utf-16": false, "application/json; charset=latin1": false,
		"application/json; charset=utf-8; charset=utf-16": false, `application/json; charset="utf-8`: false,
		"application/cloudevents+json; charset=utf-16": false, "application/x-www-form-urlencoded; charset=utf-16": false,
		"text/plain; charset=latin1": true, "s3cret/": true, ";": true, "": true,
	} {
		if _, err := infer.MediaType([]string{contentType}); (err == nil) != good || err != nil && problem.CodeOf(err) != problem.UnsupportedMedia {
			t.Errorf("%q: %v", contentType, err)
		}
	}
}
