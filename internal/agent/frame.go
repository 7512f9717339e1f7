package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"oakum.dev/document"
	"oakum.dev/patch/journal"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/ssm"
)

// frame is a document that is being run: the command's own, or one that a step of it runs. The steps of all of them are
// in the command's one journal.
type frame struct {
	*command
	name   string // of the document; "" for a file on the node
	doc    *document.Document
	values document.Values
	dir    string // of the steps' folders
	path   string // of the step that runs the document, in the journal: "" or "STEP/"
	place  string // the same for the environment and units: "" or "3-STEP/"
	depth  int
	hook   string // what the document is a hook for, if it or the one that runs it is one
	always bool   // it is run although the command was cancelled
}

// top is the frame of the command's own document.
func (c *command) top() *frame {
	return &frame{command: c, name: c.payload.DocumentName, doc: c.doc, values: c.values, dir: c.paths.steps}
}

// key is the step's name in the command's journal.
func (f *frame) key(step document.Step) string { return f.path + step.Name }

// stateOf is what the journal says of a step.
func (f *frame) stateOf(step document.Step) *stepState { return f.command.state.step(f.key(step)) }

// stepDir is where a step's script and output are. Names are safe as files: the document package checks them.
func (f *frame) stepDir(i int, name string) string {
	return filepath.Join(f.dir, fmt.Sprintf("%02d-%s", i, strings.ReplaceAll(name, ":", "")))
}

// isCancelled reports whether nothing more of the document is to be run.
func (f *frame) isCancelled() bool { return !f.always && f.command.isCancelled() }

// whenCancelled is closed on cancellation; nil for what is run all the same.
func (f *frame) whenCancelled() <-chan struct{} {
	if f.always {
		return nil
	}
	return f.command.cancelled
}

// engine is what a step has the patch engine do.
func (f *frame) engine(step document.Step) document.EngineUse {
	return document.Engine(f.name, step, f.values)
}

// nested runs an aws:runDocument step: the document is fetched once, and each of its steps is as durable as those of the
// command's own document.
func (f *frame) nested(ctx context.Context, i int, step document.Step, resumed bool) (outcome, error) {
	dir := f.stepDir(i, step.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return failed(err.Error()), nil
	}
	if !resumed {
		if err := f.append(record{Kind: kindStarting, Step: f.key(step), Boot: f.agent.sys.BootID()}); err != nil {
			return outcome{}, err
		}
	}
	inner, err := f.open(ctx, i, step)
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	if err != nil {
		return failed("failed to run the document: " + err.Error()), nil
	}
	status, err := inner.run(ctx)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{status: status}
	blame, err := inner.fold(dir)
	if err != nil {
		return failed(err.Error()), nil
	}
	switch status {
	case document.Failed:
		o.code, o.message = 1, blame
	case document.TimedOut, document.Cancelled:
		o.code, o.message = document.ExitKilled, blame
	}
	return o, nil
}

// open makes the frame of the document that a step runs.
func (f *frame) open(ctx context.Context, i int, step document.Step) (*frame, error) {
	n, err := step.Nested()
	if err != nil {
		return nil, err
	}
	in := &frame{
		command: f.command, name: n.Name, dir: filepath.Join(f.stepDir(i, step.Name), "document"), path: f.key(step) + "/",
		place: f.place + fmt.Sprintf("%d-%s/", i, step.Name), depth: f.depth + 1, hook: f.hook, always: f.always,
	}
	if hook := document.Hook(f.name, step.Name); f.depth == 0 && hook != "" {
		in.hook = hook
		in.always = f.mustRun(step)
	}
	if in.depth > document.MaxDepth {
		return nil, document.TooDeep(strings.TrimSpace(n.Name + n.Path))
	}
	if n.Path != "" {
		in.doc, err = f.local(n.Path)
	} else {
		in.name, in.doc, err = in.fetch(ctx, n.Name, n.Version)
	}
	if err != nil {
		return nil, err
	}
	if in.doc, err = f.agent.allowed(in.name, in.doc); err != nil {
		return nil, err
	}
	if len(in.doc.Steps) == 0 {
		return nil, fmt.Errorf("%s has the schema version %s, which this agent does not run", step.Name, in.doc.SchemaVersion)
	}
	if p := f.agent.self.Type; in.hook != "" && !slices.Contains(in.doc.Platforms(), p) { // all its steps would be skipped, and count as done
		return nil, fmt.Errorf("the hook %s has no step for %s", in.name, p)
	}
	given, err := in.doc.Convert(n.Parameters)
	if err != nil {
		return nil, err
	}
	in.values = in.doc.WithDefaults(given)
	return in, nil
}

// local reads a document from a file on the node: below the command's downloads, or an absolute path.
func (f *frame) local(path string) (*document.Document, error) {
	if !filepath.IsAbs(path) {
		if !filepath.IsLocal(path) {
			return nil, fmt.Errorf("documentPath %q leads out of the command's downloads", path)
		}
		path = filepath.Join(f.paths.downloads, path)
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if info, err := in.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is not a file", path), err)
	}
	b, err := io.ReadAll(io.LimitReader(in, document.MaxSize+1))
	if err != nil {
		return nil, err
	}
	return document.Parse(b, document.Auto)
}

// fetched is a document as the command keeps it, so that all its steps run one text, also after a crash or when the
// server cannot be reached.
type fetched struct {
	Name    string `json:"name"`
	Content string `json:"content"`
}

// fetchTries is how often a document is asked for while the server does not answer; each try is several itself.
const fetchTries = 10

// fetch returns a document of the server. What the command has fetched already is not asked for again.
func (f *frame) fetch(ctx context.Context, name, version string) (string, *document.Document, error) {
	sum := sha256.Sum256([]byte(name + ":" + version))
	file := filepath.Join(f.paths.dir, "documents", hex.EncodeToString(sum[:16])+".json")
	var have fetched
	if err := readJSON(file, &have); err != nil {
		var out ssm.GetDocumentOutput
		in := &ssm.GetDocumentInput{Name: &name, DocumentFormat: new(string(document.JSON))}
		if version != "" {
			in.DocumentVersion = &version
		}
		b := f.agent.newBackoff()
		for try := 1; ; try++ {
			err := f.agent.client.Call(ctx, "ssm", "GetDocument", in, &out)
			if err == nil {
				break
			}
			if try == fetchTries || !temporary(err) || f.isCancelled() || !wait(ctx, b.next()) {
				return name, nil, fmt.Errorf("get %s: %w", name, err)
			}
		}
		if kind := codec.Value(out.DocumentType); kind != "" && kind != string(document.Command) {
			return name, nil, fmt.Errorf("%s has the type %s: only documents of the type Command are run", name, kind)
		}
		have = fetched{Name: codec.Value(out.Name), Content: codec.Value(out.Content)}
		if have.Name == "" {
			have.Name = name
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return name, nil, err
		}
		if err := writeJSON(file, have); err != nil {
			return name, nil, err
		}
	}
	doc, err := document.ParsePayload([]byte(have.Content))
	if err != nil {
		err = fmt.Errorf("the document %s cannot be read: %w", have.Name, err)
	}
	return have.Name, doc, err
}

// prefetch gets the documents that the command's own one runs, before anything is changed: what patching breaks, a
// network say, must not keep the exit hook away. What cannot be got is told by the step that needs it.
func (f *frame) prefetch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, f.agent.timing.RequestTimeout)
	defer cancel()
	for _, s := range f.doc.Steps {
		if s.Action != document.RunDocument || f.doc.Decide(s, document.Supported, f.agent.self.Type, f.values).Status != "" {
			continue
		}
		n, err := s.Bind(f.values).Nested()
		if err != nil || n.Name == "" {
			continue
		}
		_, _, _ = f.fetch(ctx, n.Name, n.Version)
	}
}

// fold makes the output of the step that ran the document out of that of its steps, one after the other, and returns
// which of them decided how it ended.
func (f *frame) fold(dir string) (blame string, err error) {
	var out [2]*os.File
	for k, name := range outputFiles {
		if out[k], err = os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, out[k].Close()) }()
	}
	for i := range f.doc.Steps {
		step := f.doc.Steps[i].Bind(f.values)
		st := f.stateOf(step)
		if st.status == document.Skipped {
			continue
		}
		var flow document.Flow
		status, code := flow.Finish(step, st.status, st.code)
		switch status {
		case document.Failed, document.TimedOut, document.Cancelled:
			if blame == "" {
				blame = fmt.Sprintf("step %s of %s ended as %s with code %d", step.Name, f.title(), status, code)
			}
		}
		from := f.stepDir(i, step.Name)
		if err := copyStream(out[0], filepath.Join(from, outputFiles[0]), "", ""); err != nil {
			return "", err
		}
		if err := copyStream(out[1], filepath.Join(from, outputFiles[1]), st.notice, st.message); err != nil {
			return "", err
		}
	}
	return blame, nil
}

func (f *frame) title() string {
	if f.name == "" {
		return "the document"
	}
	return f.name
}

func copyStream(to io.Writer, from, before, after string) error {
	if _, err := io.WriteString(to, before); err != nil {
		return err
	}
	last := byte('\n')
	if in, err := os.Open(from); err == nil {
		defer in.Close()
		if _, err := io.Copy(to, in); err != nil {
			return err
		}
		if info, err := in.Stat(); err == nil && info.Size() > 0 {
			end := []byte{0}
			if _, err := in.ReadAt(end, info.Size()-1); err == nil {
				last = end[0]
			}
		}
	}
	if after == "" {
		return nil
	}
	if last != '\n' {
		after = "\n" + after
	}
	_, err := io.WriteString(to, after+"\n")
	return err
}

// mustRun reports whether a step is run although the command was cancelled.
func (f *frame) mustRun(step document.Step) bool {
	before, always := document.Always(f.name, step.Name)
	return always && f.depth == 0 && f.command.state.step(before).starts > 0
}

// hookEnvironment tells a hook what it is a hook for, and what has happened so far.
func (f *frame) hookEnvironment() map[string]string {
	if f.hook == "" {
		return nil
	}
	c := f.command
	env := map[string]string{"OAKUM_HOOK": f.hook, "OAKUM_OPERATION": document.Text(c.values["Operation"]), "OAKUM_REBOOTED": "0", "OAKUM_MISSING_COUNT": "", "OAKUM_INSTALLED_JSON": ""}
	if f.hook == "post-reboot" {
		env["OAKUM_OPERATION"] = "Scan"
	}
	if c.state.reboots > 0 && c.state.boot != c.agent.sys.BootID() {
		env["OAKUM_REBOOTED"] = "1"
	}
	code := ""
	var last time.Time
	for key, st := range c.state.steps {
		if c.patches(key) && st.starts > 0 && st.finished && !st.ended.Before(last) {
			code, last = fmt.Sprint(st.code), st.ended
		}
	}
	env["OAKUM_PATCH_EXIT_CODE"] = code
	var result struct{ MissingCount *int }
	if err := readJSON(c.paths.result, &result); err == nil {
		env["OAKUM_INSTALLED_JSON"] = c.paths.result
		if result.MissingCount != nil {
			env["OAKUM_MISSING_COUNT"] = fmt.Sprint(*result.MissingCount)
		}
	}
	return env
}

// patches reports whether a step in the journal is one that scanned or installed for a document with hooks.
func (c *command) patches(key string) bool {
	first, rest, inner := strings.Cut(key, "/")
	switch first {
	case document.StepPatchScan, document.StepInstall:
		return inner && !strings.Contains(rest, "/")
	case document.StepReport, document.StepReport + "Windows":
		return !inner
	}
	return false
}

// skipReason is what a step that is not run says. Documents with hooks say which step decided so, and what it said.
func (f *frame) skipReason(step document.Step, flow *document.Flow) string {
	if !document.HasHooks(f.name) {
		return "Step execution skipped due to an earlier exit. Step name: " + step.Name
	}
	if d := f.doc.Decide(step, f.agent.support(step.Action), f.agent.self.Type, f.values); d.Status == document.Skipped {
		return hookSkipped(d.Reason) // it is for another platform, and would have been skipped all the same
	}
	by, status := flow.By()
	if status == document.Success {
		for i := range f.doc.Steps {
			if f.doc.Steps[i].Name == by {
				if text := strings.TrimSpace(readHead(filepath.Join(f.stepDir(i, by), outputFiles[0]))); text != "" {
					return "Step skipped: " + text[strings.LastIndexByte(text, '\n')+1:]
				}
			}
		}
		return "Step skipped: " + by + " ended the document"
	}
	return fmt.Sprintf("Step skipped: %s ended as %s", by, status)
}

// hookSkipped is the reason of the document package in the words of documents with hooks.
func hookSkipped(reason string) string {
	return "Step skipped: " + strings.TrimPrefix(reason, "Step execution skipped due to ")
}

func readJSON(file string, v any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func writeJSON(file string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return journal.WriteFile(file, b, 0o600)
}
