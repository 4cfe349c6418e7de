package publish

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/modelserveai/modelserve/runtime/model"
	"github.com/modelserveai/modelserve/runtime/ort"
)

// sourcesOf lists the files of the model by the names they get.
func sourcesOf(file string) (map[string]string, error) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, refuse("there is no file %s", file)
	case err != nil:
		return nil, fmt.Errorf("read the model: %w", err)
	case info.IsDir():
		return nil, refuse("%s is a folder; name the .onnx file in it", file)
	case !info.Mode().IsRegular():
		return nil, refuse("%s is not a file", file)
	case info.Size() == 0:
		return nil, refuse("%s is empty; export or copy the model again", file)
	}
	external, err := externalOf(file)
	if err != nil {
		return nil, err
	}
	external[model.ModelFile] = file
	return external, nil
}

// externalOf lists the files of a model's external data, which lie beside it.
func externalOf(file string) (map[string]string, error) {
	external, err := ort.ExternalData(file)
	if errors.Is(err, ort.ErrNotONNX) {
		return nil, refuse("%s is %w; export the model to ONNX first", file, err)
	}
	if err != nil {
		return nil, refuse("%s: %w", file, err)
	}
	sources := map[string]string{}
	for _, name := range external {
		path := filepath.Join(filepath.Dir(file), name)
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, refuse("its external data %s is missing: put it beside %s", name, filepath.Base(file))
		case err != nil:
			return nil, fmt.Errorf("read the model's external data: %w", err)
		case !info.Mode().IsRegular():
			return nil, refuse("its external data %s is not a file of its own", path)
		case name == model.ModelFile:
			return nil, refuse("its external data is called %s, as the model itself will be: rename it in the export", name)
		}
		sources[name] = path
	}
	return sources, nil
}
