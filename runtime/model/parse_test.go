package model

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelserveai/modelserve/runtime/infer"
)

var here = Target{ONNXRuntime: "1.31.1", Arch: "amd64", CPU: []string{"avx", "avx2"}}

func manifest() *Manifest {
	axis, least := 0, 0.0
	return &Manifest{
		Schema: 1, Name: "iris", Version: 3, Platform: Platform,
		Signature: infer.Signature{
			Inputs:    []infer.TensorSpec{{Name: "x", DataType: infer.Int64, Shape: []int64{-1, 4}, Example: []int64{2, 4}, MinShape: []int64{1, -1}, MaxShape: []int64{64, 4}, Min: &least}},
			Outputs:   []infer.TensorSpec{{Name: "y", DataType: infer.Bytes}},
			BatchAxis: &axis,
		},
		Files: []File{
			{Path: ModelFile, Object: "0-model.onnx", Size: 10, SHA256: strings.Repeat("0", 64)},
			{Path: "model.ort", Object: "1-model.ort", Size: 12, SHA256: strings.Repeat("1", 64), Optimized: &here},
		},
		Metadata: map[string]string{"b": "2", "a": "1"},
	}
}

func TestManifestThereAndBack(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func() *Manifest{"least": manifest, "with batches": batchManifest} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := make().Marshal()
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseManifest(data)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(make(), got); diff != "" {
				t.Error(diff)
			}
			again, err := got.Marshal()
			if err != nil || !bytes.Equal(data, again) {
				t.Errorf("not the same bytes: %v\n%s\n%s", err, data, again)
			}
		})
	}
}

func TestParseManifestRefuses(t *testing.T) {
	t.Parallel()
	good, err := manifest().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ old, new, want string }{
		"unknown member":      {`"schema": 1`, `"schema": 1, "extra": 1`, "extra"},
		"member twice":        {`"schema": 1`, `"schema": 1, "schema": 1`, "duplicate"},
		"other case":          {`"schema": 1`, `"Schema": 1`, "Schema"},
		"other schema":        {`"schema": 1`, `"schema": 2`, "schema: expected 1, got 2"},
		"a path for a name":   {`"iris"`, `"../iris"`, "name"},
		"version 0":           {`"version": 3`, `"version": 0`, "version"},
		"fractional version":  {`"version": 3`, `"version": 3.5`, "version"},
		"other platform":      {Platform, "tensorflow", "platform"},
		"unknown data type":   {`"INT64"`, `"LONG"`, "inputs[0].datatype"},
		"negative dimension":  {"-1", "-2", "inputs[0].shape[0]"},
		"a huge example":      {"2,\n        4", "99999999999,\n        4", "inputs[0].example"},
		"an example's rank":   {"2,\n        4", "2", "inputs[0].example"},
		"an example's size":   {"2,\n        4", "2,\n        5", "inputs[0].example"},
		"a bound's rank":      {"64,\n        4", "64", "inputs[0].min_shape"},
		"a bound's size":      {"64,\n        4", "64,\n        5", "inputs[0].min_shape"},
		"bounds crossed":      {"64,\n        4", "0,\n        4", "inputs[0].min_shape"},
		"a negative bound":    {"64,\n        4", "-2,\n        4", "inputs[0].min_shape"},
		"a file's path":       {`"model.ort"`, `"a/model.ort"`, "files[1].path"},
		"a hidden file":       {`"model.ort"`, `".model.ort"`, "files[1].path"},
		"an object elsewhere": {`"1-model.ort"`, `"../../other/model.ort"`, "files[1].object"},
		"a file twice":        {`"model.ort"`, `"model.onnx"`, "files[1].path"},
		"no model":            {`"model.onnx"`, `"other.onnx"`, "files: expected model.onnx"},
		"a short hash":        {strings.Repeat("1", 64), "11", "files[1].sha256"},
		"an upper-case hash":  {strings.Repeat("1", 64), strings.Repeat("A", 64), "files[1].sha256"},
		"a size of nothing":   {`"size": 12`, `"size": 0`, "files[1].size"},
		"a size of too much":  {`"size": 12`, `"size": 99999999999999`, "files[1].size"},
		"an axis not there":   {`"batch_axis": 0`, `"batch_axis": 7`, "has no axis 7 to batch along"},
		"something after it":  {"\n}\n", "\n}{}", "after top-level"},
		"deep nesting":        {`"a": "1"`, `"a": ` + strings.Repeat("[", 20_000), ""},
		"nothing":             {string(good), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !bytes.Contains(good, []byte(tc.old)) {
				t.Fatalf("%s is not in\n%s", tc.old, good)
			}
			_, err := ParseManifest(bytes.Replace(good, []byte(tc.old), []byte(tc.new), 1))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("ParseManifest: %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := ParseManifest(make([]byte, MaxManifest+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("ParseManifest of too much: %v", err)
	}
}

func TestExamplesOfAManifest(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		spec infer.TensorSpec
		want string // "" is none
	}{
		"data":                {infer.TensorSpec{DataType: infer.Int16, Shape: []int64{-1, 2}, Example: []int64{1, 2}, ExampleData: []byte{1, 0, 2, 0}}, ""},
		"data of any shape":   {infer.TensorSpec{DataType: infer.Int16, Example: []int64{1, 2}, ExampleData: []byte{1, 0, 2, 0}}, ""},
		"strings":             {infer.TensorSpec{DataType: infer.Bytes, Shape: []int64{1}, ExampleData: []byte{1, 0, 0, 0, 'a'}}, ""},
		"no elements":         {infer.TensorSpec{DataType: infer.FP32, Shape: []int64{-1, 2}, Example: []int64{0, 2}}, ""},
		"none, then too many": {infer.TensorSpec{DataType: infer.FP32, Shape: []int64{0, 1 << 40}}, "inputs[0].example"},
		"too little data":     {infer.TensorSpec{DataType: infer.Int16, Shape: []int64{2}, ExampleData: []byte{1, 0}}, "inputs[0].example_data"},
		"broken strings":      {infer.TensorSpec{DataType: infer.Bytes, Shape: []int64{1}, ExampleData: []byte{9, 0, 0, 0, 'a'}}, "inputs[0].example_data"},
		"no bool":             {infer.TensorSpec{DataType: infer.Bool, Shape: []int64{1}, ExampleData: []byte{2}}, "inputs[0].example_data"},
		"too large to make":   {infer.TensorSpec{DataType: infer.Int8, Shape: []int64{1 << 20, 1 << 20}}, "inputs[0].example"},
		"overflowing":         {infer.TensorSpec{DataType: infer.Int8, Shape: []int64{-1, 1 << 40, 1 << 40}}, "inputs[0].example"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := manifest()
			m.BatchAxis = nil
			tc.spec.Name = "x"
			m.Inputs = []infer.TensorSpec{tc.spec}
			data, err := m.Marshal()
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if again, err := ParseManifest(data); err != nil || !cmp.Equal(again.Inputs, m.Inputs) {
				t.Errorf("read again: %v, %v", again, err)
			}
		})
	}
}

func FuzzParseManifest(f *testing.F) {
	good, err := manifest().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	batched, err := batchManifest().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(batched)
	f.Add([]byte(`{"batching":{"max_batch_size":-1},"cost":{"memory_bytes":1,"batches":[{"size":0}]}}`))
	f.Add([]byte(`{"schema":1,"name":"a","version":1}`))
	f.Add([]byte(`{"files":[{"path":"../../etc/passwd"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		for _, file := range m.Files {
			if strings.ContainsAny(file.Path+file.Object, "/\\") || strings.HasPrefix(file.Path, ".") {
				t.Errorf("file %+v", file)
			}
		}
		again, err := m.Marshal()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := ParseManifest(again); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}
