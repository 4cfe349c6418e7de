package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/modelserveai/modelserve"

// source is the parsed code of the product by import path, tests and what is
// only for tests left out.
type source map[string][]*ast.File

func readSource(root fs.FS) (source, error) {
	s, files := source{}, token.NewFileSet()
	err := fs.WalkDir(root, ".", func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if at != "." && strings.HasPrefix(name, ".") || name == "testdata" || at == "test" || at == "examples" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		code, err := fs.ReadFile(root, at)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(files, at, code, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("read the source: %w", err)
		}
		importPath := path.Join(module, path.Dir(at))
		s[importPath] = append(s[importPath], file)
		return nil
	})
	return s, err
}

// each calls visit with each node of the code, packages in order.
func (s source) each(visit func(importPath string, n ast.Node)) {
	for _, at := range slices.Sorted(maps.Keys(s)) {
		for _, file := range s[at] {
			ast.Inspect(file, func(n ast.Node) bool {
				visit(at, n)
				return true
			})
		}
	}
}

// comments are the comments of a struct's fields, by field: beside
// them, else above them.
func (s source) comments(importPath, name string) map[string]string {
	found := map[string]string{}
	for _, file := range s[importPath] {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != name {
				return true
			}
			if t, ok := spec.Type.(*ast.StructType); ok {
				fieldComments(t, found)
			}
			return false
		})
	}
	return found
}

// fieldComments fills in a struct's. A comment above a field is also of the next
// one, if it names it and that has none.
func fieldComments(t *ast.StructType, into map[string]string) {
	above := ""
	for _, f := range t.Fields.List {
		if f.Doc != nil {
			above = f.Doc.Text()
		}
		for _, name := range f.Names {
			switch {
			case f.Comment != nil:
				into[name.Name] = f.Comment.Text()
			case f.Doc != nil || strings.Contains(above, name.Name):
				into[name.Name] = above
			}
		}
	}
}

// text is the value of a string literal.
func text(e ast.Expr) (string, error) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", errors.New("expected a text as a literal")
	}
	return strconv.Unquote(l.Value)
}
