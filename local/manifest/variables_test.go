package manifest_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/modelserveai/modelserve/internal/env"
)

// variable is one that a program reads: the type of its field, and its default
// as the field's tag writes it.
type variable struct{ of, fallback string }

// variables are those of functions, of the gateway and of the pipelines service, by name.
type variables struct{ function, gateway, pipelines map[string]variable }

// readVariables reads the tags of the programs' configurations, which are in
// their sources: mains cannot be imported.
func readVariables() (variables, error) {
	shared := []string{"runtime/artifact", "internal/telemetry"}
	function, err := tagged(append(slices.Clone(shared), "runtime/function")...)
	if err != nil {
		return variables{}, err
	}
	gateway, err := tagged(append(slices.Clone(shared), "gateway")...)
	if err != nil {
		return variables{}, err
	}
	pipelines, err := tagged(append(shared, "pipelines")...)
	return variables{function, gateway, pipelines}, err
}

// tagged collects the env tags of struct fields below folders of the repository.
func tagged(folders ...string) (map[string]variable, error) {
	found := map[string]variable{}
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(shipped, "..", folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if field, ok := n.(*ast.Field); ok && field.Tag != nil {
					addTag(found, field)
				}
				return true
			})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

func addTag(found map[string]variable, field *ast.Field) {
	text, err := strconv.Unquote(field.Tag.Value)
	if err != nil {
		return
	}
	tag := reflect.StructTag(text)
	if name, _, _ := strings.Cut(tag.Get("env"), ","); name != "" {
		found[name] = variable{typeName(field.Type), tag.Get("envDefault")}
	}
}

// typeName is a field's type as its source writes it.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return typeName(e.X) + "." + e.Sel.Name
	default:
		return ""
	}
}

// value reads a text as the variable's program does; types that are text here
// are compared as text.
func (v variable) value(text string) (any, error) {
	switch v.of {
	case "bool":
		return strconv.ParseBool(text)
	case "int", "int64":
		return strconv.ParseInt(text, 10, 64)
	case "time.Duration":
		return time.ParseDuration(text)
	case "env.Size":
		var size env.Size
		err := size.UnmarshalText([]byte(text))
		return size, err
	default:
		return text, nil
	}
}

// check holds that the value is one of the type, and not what the program has by
// itself: a default written twice is soon two.
func (v variable) check(text string) error {
	value, err := v.value(text)
	if err != nil {
		return err
	}
	if fallback, err := v.value(v.fallback); err == nil && value == fallback {
		return fmt.Errorf("%q is the default: leave it out", text)
	}
	return nil
}

// known holds that some program reads each variable that is set.
func (b *built) known(all variables) error {
	var faults []error
	check := func(where, name, value string, of ...map[string]variable) {
		i := slices.IndexFunc(of, func(m map[string]variable) bool { _, ok := m[name]; return ok })
		if i < 0 {
			faults = append(faults, fmt.Errorf("%s: %s: nothing reads it", where, name))
		} else if err := of[i][name].check(value); err != nil {
			faults = append(faults, fmt.Errorf("%s: %s: %w", where, name, err))
		}
	}
	for _, m := range b.settings {
		for name, value := range m.Data {
			check("ConfigMap "+m.Name, name, value, all.function, all.gateway)
		}
	}
	for _, w := range b.workloads() {
		of := all.function
		switch {
		case w.name == "gateway":
			of = all.gateway
		case w.pipelines:
			of = all.pipelines
		}
		for _, e := range given(w.Containers[0]) {
			check(w.String(), e.Name, e.Value, of)
		}
	}
	return errors.Join(faults...)
}

func given(c corev1.Container) []corev1.EnvVar {
	return slices.DeleteFunc(slices.Clone(c.Env), func(e corev1.EnvVar) bool { return e.ValueFrom != nil })
}
