// Command api generates the packages of wire/ from service models: those of aws-sdk-go v1 in the Go
// module cache, which stays out of go.mod, and the files beside this one. services.json says which
// operations are served. Run it from the module's root, or by `go generate ./wire`.
package main

import (
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const sdk = "github.com/aws/aws-sdk-go@v1.55.8"

//go:embed services.json additions models
var data embed.FS

func main() {
	out := flag.String("out", "wire", "directory to write the packages to")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

// errNoModel is returned when the module with the models cannot be had.
var errNoModel = errors.New("module " + sdk + " is not available")

// sdkDir returns the directory of the SDK in the module cache. It runs go outside of any module, so that
// go.mod never learns of it.
func sdkDir() (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", sdk)
	cmd.Dir = os.TempDir()
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	text, err := cmd.Output()
	var answer struct{ Dir, Error string }
	if jerr := json.Unmarshal(text, &answer); jerr != nil || answer.Error != "" || answer.Dir == "" {
		return "", fmt.Errorf("%w: %v %s", errNoModel, err, answer.Error)
	}
	return answer.Dir, nil
}

func run(out string) error {
	var conf services
	if err := readData("services.json", &conf); err != nil {
		return err
	}
	dir, err := sdkDir()
	if err != nil {
		return err
	}
	for _, s := range conf.Services {
		m, err := load(dir, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Package, err)
		}
		files, err := generate(s, m)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Package, err)
		}
		if err := write(filepath.Join(out, s.Package), files); err != nil {
			return err
		}
	}
	return nil
}

func readData(name string, v any) error {
	text, err := data.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func load(dir string, s service) (*model, error) {
	m := &model{}
	if path, ok := strings.CutPrefix(s.Model, "aws:"); ok {
		text, err := os.ReadFile(filepath.Join(dir, "models", "apis", filepath.FromSlash(path), "api-2.json"))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, m); err != nil {
			return nil, err
		}
	} else if err := readData(s.Model, m); err != nil {
		return nil, err
	}
	if s.Additions != "" {
		add := &model{}
		if err := readData(s.Additions, add); err != nil {
			return nil, err
		}
		if err := m.merge(add); err != nil {
			return nil, err
		}
	}
	for _, name := range s.Sensitive {
		shape, mem, _ := strings.Cut(name, ".")
		if m.Shapes[shape] == nil || m.Shapes[shape].Members.find(mem) == nil {
			return nil, fmt.Errorf("sensitive member %s does not exist", name)
		}
	}
	return m, nil
}

func write(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "zz_*.go"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if _, keep := files[filepath.Base(f)]; !keep {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
