package rpm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Limits on modules.yaml; the largest of real repositories is below 30 MB.
const (
	maxModules  = 256 << 20 // bytes of the file
	maxDocument = 8 << 20   // bytes of one document
)

// modulemd is what is read of the documents of modules.yaml.
// Source: the format descriptions of libmodulemd for streams (2 and 3) and defaults (1).
type modulemd struct {
	Document string
	Data     struct {
		Name, Stream, Version, Context, Arch string
		Module                               string // of defaults
		Modified                             int64
		Dependencies                         yaml.Node
		Artifacts                            struct{ RPMs []string }
	}
}

// ReadModules reads modules.yaml (opened): the streams of modules, and the default stream of each module that has one.
func ReadModules(r io.Reader) (modules []Module, defaults map[string]string, err error) {
	defaults = map[string]string{}
	modified := map[string]int64{}
	n := 0
	err = documents(r, func(doc []byte) error {
		n++
		m := modulemd{}
		if err := yaml.Unmarshal(doc, &m); err != nil {
			return fmt.Errorf("modules.yaml: document %d: %w", n, err)
		}
		d := &m.Data
		switch m.Document {
		case "modulemd", "modulemd-stream":
			if d.Name == "" {
				return nil // a builder's input, of no use to a node
			}
			mod := Module{Name: d.Name, Stream: d.Stream, Version: d.Version, Context: d.Context, Arch: d.Arch, Artifacts: d.Artifacts.RPMs}
			mod.Requires = moduleRequires(&d.Dependencies)
			modules = append(modules, mod)
		case "modulemd-defaults":
			last, seen := modified[d.Module]
			switch {
			case !seen || d.Modified > last:
				defaults[d.Module], modified[d.Module] = d.Stream, d.Modified
			case d.Modified == last && defaults[d.Module] != d.Stream:
				defaults[d.Module] = "" // two that contradict each other are none
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for module, stream := range defaults {
		if module == "" || stream == "" {
			delete(defaults, module)
		}
	}
	return modules, defaults, nil
}

// moduleRequires reads dependencies.requires, which is a list of maps (version 2), one map (version 3), and in both
// has lists of streams, or a single one (version 1).
func moduleRequires(n *yaml.Node) []string {
	var out []string
	sets := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		sets = n.Content
	}
	for _, set := range sets {
		requires := child(set, "requires")
		if requires == nil {
			continue
		}
		for i := 0; i+1 < len(requires.Content); i += 2 {
			name, streams := requires.Content[i].Value, requires.Content[i+1]
			if name == "platform" {
				continue
			}
			all := streams.Content
			if streams.Kind == yaml.ScalarNode {
				all = []*yaml.Node{streams}
			}
			if len(all) == 0 {
				out = append(out, name)
			}
			for _, s := range all {
				out = append(out, name+":"+s.Value)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func child(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key && n.Content[i+1].Kind == yaml.MappingNode {
			return n.Content[i+1]
		}
	}
	return nil
}

// unread are the children of data that ReadModules does not look at. They are nine tenths of a document, and the yaml
// library takes a second for 10 MB.
var unread = []string{"summary", "description", "license", "xmd", "references", "profiles", "api", "filter", "components", "buildopts", "demodularized", "servicelevels", "intents"}

// documents cuts a stream of YAML documents into single ones and leaves out what is not read.
func documents(r io.Reader, fn func([]byte) error) error {
	in := bufio.NewReaderSize(&capped{r: r, left: maxModules}, 64<<10)
	var doc []byte
	skip := false // inside of an unread child of data
	flush := func() error {
		b := doc
		doc, skip = doc[:0], false
		if len(bytes.TrimSpace(b)) == 0 {
			return nil
		}
		return fn(b)
	}
	for {
		line, err := readLine(in)
		if err != nil && err != io.EOF {
			return fmt.Errorf("modules.yaml: %w", err)
		}
		if line == nil && err == io.EOF || isMarker(line) {
			if ferr := flush(); ferr != nil || err == io.EOF {
				return ferr
			}
			continue
		}
		if bytes.HasPrefix(line, []byte("--- ")) { // a document that starts on the line of its marker
			if err := flush(); err != nil {
				return err
			}
		}
		if len(doc) == 0 && line[0] == '%' { // a directive
			continue
		}
		if skip = skipped(line, skip); !skip {
			doc = append(doc, line...)
		}
		if len(doc) > maxDocument {
			return fmt.Errorf("modules.yaml: a document: %w", ErrTooLarge)
		}
	}
}

// skipped says whether a line belongs to a child that is not read. Only the layout that libmodulemd writes (data with
// children two blanks in, their values further in) is cut; any other is read whole.
func skipped(line []byte, skip bool) bool {
	indent := len(line) - len(bytes.TrimLeft(line, " "))
	switch {
	case indent > 2 || len(bytes.TrimSpace(line)) == 0:
		return skip
	case indent < 2:
		return false
	case bytes.HasPrefix(line[2:], []byte("-")): // a list may stand at its key's own indent
		return skip
	}
	key, value, ok := bytes.Cut(line[2:], []byte(":"))
	if !ok || !slices.Contains(unread, string(key)) {
		return false
	}
	// A quoted or plain text may go on in lines that are further in, a block and a list do; an anchor may be used elsewhere.
	value = bytes.TrimSpace(value)
	return len(value) == 0 || value[0] != '&' && value[0] != '*'
}

func isMarker(line []byte) bool {
	s := string(bytes.TrimRight(line, " \t\r\n"))
	return s == "---" || s == "..."
}

// readLine reads a line with its end; nil at the end of the stream.
func readLine(in *bufio.Reader) ([]byte, error) {
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		if err == nil && long == nil {
			return part, nil
		}
		long = append(long, part...)
		if len(long) > maxDocument {
			return nil, ErrTooLarge
		}
		if err == nil {
			return long, nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return long, err
		}
	}
}

// ModuleState is what a node has chosen for a module.
type ModuleState struct {
	Stream   string
	State    string // enabled, disabled, or empty
	Profiles []string
}

// ReadModuleState reads the choices of a folder such as etc/dnf/modules.d by the name of the module. A folder that
// does not exist has none.
func ReadModuleState(fsys fs.FS, dir string) (map[string]ModuleState, error) {
	states := map[string]ModuleState{}
	entries, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return states, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read module states: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".module") {
			continue
		}
		b, err := readSmall(fsys, path.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Name(), err)
		}
		conf, err := ReadConf(bytes.NewReader(b), DNF)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", e.Name(), err)
		}
		for i := range conf.Sections {
			s := &conf.Sections[i]
			states[s.Get("name", s.Name)] = ModuleState{Stream: s.Get("stream", ""), State: s.Get("state", ""), Profiles: s.List("profiles")}
		}
	}
	return states, nil
}
