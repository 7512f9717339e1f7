package agent

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"oakum.dev/document"
	"oakum.dev/patch/journal"
)

// The plugins that run PowerShell.
const (
	pluginPowerShell = "aws:runPowerShellScript"
	pluginModule     = "aws:psModule" // the same with a module that is fetched first; Windows only
)

func runsPowerShell(action string) bool { return action == pluginPowerShell || action == pluginModule }

// powershell is the program and its arguments in front of a script's path. On Windows it is the one that every system
// has; elsewhere PowerShell is a package of its own.
func (a *Agent) powershell() ([]string, error) {
	options := []string{"-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-InputFormat", "None", "-File"}
	if a.sys.GOOS == "windows" {
		root := lookupEnv(a.sys.Environ, "SystemRoot")
		if root == "" {
			root = `C:\Windows`
		}
		return append([]string{filepath.Join(root, "System32", "WindowsPowerShell", "v1.0", "powershell.exe")}, options...), nil
	}
	for _, dir := range append([]string{"/usr/bin", "/usr/local/bin", "/opt/microsoft/powershell/7"}, filepath.SplitList(lookupEnv(a.sys.Environ, "PATH"))...) {
		if path := filepath.Join(dir, "pwsh"); filepath.IsAbs(path) {
			if _, err := exec.LookPath(path); err == nil {
				return append([]string{path}, options...), nil
			}
		}
	}
	return nil, errors.New("PowerShell is not installed on this node: there is no pwsh in /usr/bin, nor in the agent's PATH")
}

// script writes what a step runs and returns its path: a shell script, on Windows one of PowerShell. Elsewhere a shell
// script starts PowerShell, so that it is looked after like any other. The byte order mark tells Windows PowerShell
// that the text is UTF-8.
func (r *stepRun) script(property int, inputs map[string]any) (string, error) {
	text := strings.Join(document.Strings(inputs["runCommand"]), "\n") + "\n"
	path := r.file("_script.sh", property)
	if runsPowerShell(r.step.Action) {
		shell, err := r.command.agent.powershell()
		if err != nil {
			return "", err
		}
		file := strings.TrimSuffix(path, ".sh") + ".ps1"
		if property > 0 {
			file = path + ".ps1"
		}
		if err := writeScript(file, "\ufeff"+strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")); err != nil {
			return "", err
		}
		if r.command.agent.sys.GOOS == "windows" {
			return file, nil
		}
		text = "exec"
		for _, word := range append(shell, file) {
			text += " '" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		text += "\n"
	}
	return path, writeScript(path, text)
}

// wrapped is the command line of a step's wrapper. On Windows, where there is no shell that could be it, that is this
// program: see RunStep.
func (r *stepRun) wrapped(script string, property int) ([]string, error) {
	a := r.command.agent
	if a.sys.GOOS != "windows" {
		return []string{"/bin/sh", "-c", wrapper, "oakum-step", script, r.exitFile(property), r.pidFile(property)}, nil
	}
	shell, err := a.powershell()
	if err != nil {
		return nil, err
	}
	return append(append([]string{a.sys.Executable, "agent", "run-step", r.exitFile(property), r.pidFile(property), "--"}, shell...), script), nil
}

// RunStep is the wrapper of a step where there is no shell: it leaves behind its own process id and the exit code of what
// it runs, so that an agent process started later can find out what became of it. It returns that exit code.
func RunStep(exitFile, pidFile string, command []string) (int, error) {
	if len(command) == 0 {
		return 0, errors.New("there is nothing to run")
	}
	if err := journal.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return 0, err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if code = exit.ExitCode(); code < 0 {
			code = document.ExitKilled
		}
	} else if err != nil {
		return 0, err
	}
	return code, journal.WriteFile(exitFile, []byte(strconv.Itoa(code)+"\n"), 0o600)
}

// Bounds of a module, which the node unpacks before it runs anything.
const (
	maxModule      = 64 << 20 // bytes of the archive
	maxModuleFiles = 10000
	maxUnpacked    = 512 << 20
)

// module fetches and unpacks what aws:psModule wants beside the script, and returns the folder to look for modules in;
// "" when the step names none.
func (r *stepRun) module(ctx context.Context, inputs map[string]any) (string, error) {
	source, want := document.Text(inputs["source"]), strings.ToLower(document.Text(inputs["sourceHash"]))
	if source == "" {
		return "", nil
	}
	if kind := document.Text(inputs["sourceHashType"]); kind != "" && !strings.EqualFold(kind, "sha256") {
		return "", fmt.Errorf("the module's hash is of type %s; only sha256 is supported", kind)
	}
	if len(want) != sha256.Size*2 {
		return "", errors.New("the module has no sourceHash (SHA-256): what is not known is not run")
	}
	u, err := url.Parse(source)
	if err != nil || u.Scheme != "https" {
		return "", fmt.Errorf("the module's source %q is not an https address", source)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return "", err
	}
	client := r.command.agent.cfg.Fetch
	if client == nil {
		client = &http.Client{Transport: &http.Transport{Proxy: r.command.agent.sys.Proxy}}
	}
	res, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("module not downloadable: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("module not downloadable: %s answered %s", u.Host, res.Status)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxModule+1))
	if err != nil {
		return "", fmt.Errorf("module not downloadable: %w", err)
	}
	if len(b) > maxModule {
		return "", fmt.Errorf("the module has more than %d bytes", maxModule)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
		return "", fmt.Errorf("the module's SHA-256 is %s, not that of the document", hex.EncodeToString(sum[:]))
	}
	dir := filepath.Join(r.dir, "modules")
	return dir, unpack(b, dir)
}

// unpack writes the files of a zip archive below dir, and nothing beside it.
func unpack(b []byte, dir string) error {
	z, err := zip.NewReader(strings.NewReader(string(b)), int64(len(b)))
	if err != nil {
		return fmt.Errorf("read the module: %w", err)
	}
	if len(z.File) > maxModuleFiles {
		return fmt.Errorf("the module has %d files", len(z.File))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	left := int64(maxUnpacked)
	for _, f := range z.File {
		name := filepath.FromSlash(strings.ReplaceAll(f.Name, `\`, "/"))
		if f.FileInfo().IsDir() || !filepath.IsLocal(name) {
			if !f.FileInfo().IsDir() {
				return fmt.Errorf("the module has a file outside of itself: %q", f.Name)
			}
			continue
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		n, err := extract(f, root, name, left)
		if err != nil {
			return fmt.Errorf("unpack %q: %w", f.Name, err)
		}
		left -= n
	}
	return nil
}

func extract(f *zip.File, root *os.Root, name string, limit int64) (int64, error) {
	in, err := f.Open()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, io.LimitReader(in, limit+1))
	if err = errors.Join(err, out.Close()); err == nil && n > limit {
		err = fmt.Errorf("the module unpacks to more than %d bytes", maxUnpacked)
	}
	return n, err
}
