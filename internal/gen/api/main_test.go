package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// models returns every service with its model, or skips the test where the SDK's models cannot be had.
func models(t *testing.T) (out []*generator) {
	t.Helper()
	dir, err := sdkDir()
	if errors.Is(err, errNoModel) {
		t.Skipf("generated code is not compared: %v", err)
	}
	var conf services
	if err := readData("services.json", &conf); err != nil {
		t.Fatal(err)
	}
	for _, s := range conf.Services {
		m, err := load(dir, s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &generator{service: s, model: m})
	}
	return out
}

func TestGeneratedCodeIsCurrent(t *testing.T) {
	for _, g := range models(t) {
		files, err := generate(g.service, g.model)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join("..", "..", "..", "wire", g.Package)
		have, err := filepath.Glob(filepath.Join(dir, "zz_*.go"))
		if err != nil {
			t.Fatal(err)
		}
		if len(have) != len(files) {
			t.Errorf("%s has %d generated files, want %d", dir, len(have), len(files))
		}
		for name, want := range files {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s/%s differs from what the models give: run go generate ./wire", dir, name)
			}
		}
	}
}
