package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/internal/agent"
	"oakum.dev/patch"
	"oakum.dev/patch/host"
)

// scanOptions are the flags of oakum scan.
type scanOptions struct {
	root      string
	baseline  string
	noRefresh bool
	output    string
	image     imageOptions
}

// scanMemory sets the garbage collector for a scan by a package manager: one that finds everything in the cache ends before
// the first collection, and one that reads all lists stays small from there on. Reading RPM metadata for the first time
// mostly ends before it too, in two thirds of what dnf takes. What the rest of the program touched while it started is given
// back.
func scanMemory(manager string) {
	percent := 800
	if manager == "apt" {
		percent = 400
	}
	debug.SetGCPercent(percent)
	runtime.AddCleanup(new([64]byte), func(percent int) { debug.SetGCPercent(percent) }, 100)
	agent.ReleasePages()
}

// Exit codes of oakum scan.
const (
	exitFailed       = 1
	exitUsage        = 2
	exitNotCompliant = 3
	exitRebootNeeded = 4
)

// NewScanCommand makes "oakum scan".
func NewScanCommand(s *Streams) *cobra.Command {
	var o scanOptions
	cmd := &cobra.Command{
		Use:   "scan",
		Short: "Check this machine, a mounted root or a container image against a patch baseline",
		Long: `Check this machine, the root file system under --root, or the container image of --image, against a patch baseline.
No server is needed.

On a running system and as root, the package manager's metadata is refreshed first. Otherwise the metadata is judged
as it lies there, and how old it is is said.

An image is a folder or archive in the OCI image layout, or what "docker save" writes; "-" reads an archive from stdin,
also a compressed one. Nothing of it is started. Few images keep their package lists: with --refresh they are fetched
from the image's own sources with this machine's apt-get, and nothing of this machine is changed.

Exit codes: 0 compliant, 3 not compliant, 4 not compliant only because a reboot is pending, 1 failed, 2 usage.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &ExitError{exitUsage, fmt.Errorf("unknown argument %q", args[0])}
			}
			return nil
		},
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.image.check(cmd.Flags().Changed); err != nil {
				return &ExitError{exitUsage, err}
			}
			return runScan(cmd.Context(), s, &o)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &ExitError{exitUsage, err} })
	f := cmd.Flags()
	f.StringVar(&o.image.file, "image", "", "container image to check: `FILE`, folder, or - for stdin")
	f.StringVar(&o.image.name, "image-name", "", "which image of the archive: `NAME`, tag or digest")
	f.StringVar(&o.image.platform, "platform", "", "which image of several: `OS/ARCH[/VARIANT]` (default: linux on this machine's architecture, or the only one)")
	f.BoolVar(&o.image.refresh, "refresh", false, "fetch an image's package lists first")
	f.StringVar(&o.root, "root", "/", "root file system to check")
	f.StringVar(&o.baseline, "baseline", "", "predefined baseline `NAME`, or a file in the JSON of get-patch-baseline (default: the predefined one)")
	f.BoolVar(&o.noRefresh, "no-refresh", false, "judge the metadata on the disk as it is")
	f.StringVar(&o.output, "output", "table", "table, json or csv")
	return cmd
}

func runScan(ctx context.Context, s *Streams, o *scanOptions) error {
	write, ok := map[string]func(*Streams, *compliance.Result) error{"table": writeScanTable, "json": writeScanJSON, "csv": writeScanCSV}[o.output]
	if !ok {
		return &ExitError{exitUsage, fmt.Errorf("--output is table, json or csv, not %q", o.output)}
	}
	var img *unpacked
	if o.image.file != "" {
		var err error
		if img, err = openImage(ctx, s, &o.image); err != nil {
			return &ExitError{exitFailed, err}
		}
		defer img.Close() // a private folder in the system's place for such
		o.root = img.root()
	}
	engine, platform, live, err := scanEngine(ctx, s, o)
	if err != nil {
		return &ExitError{exitFailed, scanFailure(err)}
	}
	scanMemory(engine.Manager.Name())
	req := patch.ScanRequest{Refresh: live && agent.Privileged() && !o.noRefresh}
	req.Baseline, req.EvaluatedAt, err = chooseBaseline(o.baseline, platform)
	if err != nil {
		return &ExitError{exitFailed, err}
	}
	if o.image.refresh {
		if err := img.fetch(ctx, s, platform); err != nil {
			return &ExitError{exitFailed, scanFailure(err)}
		}
	}
	res, err := engine.Scan(ctx, req)
	if err != nil {
		return &ExitError{exitFailed, scanFailure(img.advise(err))}
	}
	img.note(&res.Header)
	if !req.Refresh {
		sayAge(s, res, engine.Now())
	}
	warnLost(s, res)
	for _, d := range res.Header.Degraded {
		fmt.Fprintf(s.Err, "oakum: warning: %s\n", d)
	}
	if err := write(s, res); err != nil {
		return &ExitError{exitFailed, fmt.Errorf("write the result: %w", err)}
	}
	return img.advise(scanExit(res))
}

// scanExit turns a result into the exit code.
func scanExit(res *compliance.Result) error {
	c := res.Header.Counts
	switch {
	case res.Header.Status == compliance.Compliant && res.Header.Blind():
		return &ExitError{exitFailed, hinted("nothing is missing of what is known, but a source of this system has never been fetched: whether it is compliant is not known",
			"run the scan as root without --no-refresh, or mend the sources")}
	case res.Header.Status == compliance.Compliant:
		return nil
	case c.Missing+c.Failed+c.InstalledRejected == 0 && c.InstalledPendingReboot > 0 &&
		!slices.ContainsFunc(res.Items, func(i compliance.Item) bool { return i.AvailableNonCompliant }):
		return &ExitError{Code: exitRebootNeeded}
	}
	return &ExitError{Code: exitNotCompliant}
}

// scanEngine builds the engine for the root that is asked for.
func scanEngine(ctx context.Context, s *Streams, o *scanOptions) (*patch.Engine, patch.Platform, bool, error) {
	var none patch.Platform
	root, err := filepath.Abs(o.root)
	if err != nil {
		return nil, none, false, err
	}
	live := o.root == "/" // the running system, also where its root has another name
	watch := &patch.Stopwatch{Exec: patch.OSExec{}}
	cfg := host.Config{
		Root: root, Live: live, CacheDir: scanCacheDir(o), Exec: watch, Released: releasedAt,
		Note: func(text string) { fmt.Fprintf(s.Err, "oakum: %s\n", text) },
	}
	if live {
		cfg.FS = os.DirFS("/")
	} else {
		r, err := os.OpenRoot(root) // links that lead out of the root are not followed
		if err != nil {
			return nil, none, false, fmt.Errorf("open the root: %w", err)
		}
		cfg.FS = r.FS()
	}
	manager, err := host.Open(cfg)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if o.image.file != "" {
				return nil, none, false, hinted(fmt.Sprintf("the image holds no system that can be scanned: %v", err), "images without a distribution's package manager have no patches to judge")
			}
			err = hinted(fmt.Sprintf("%s holds no system that can be scanned: %v", root, err), "give the folder that has etc and var below it")
		}
		return nil, none, false, err
	}
	e := &patch.Engine{Manager: manager, Now: time.Now, Exec: watch, Waiting: func(by patch.Owner) {
		fmt.Fprintf(s.Err, "oakum: waiting for another patch run: %s\n", by)
	}}
	if live {
		e.BootID = agent.BootID()
		if agent.Privileged() {
			if e.StateDir, err = stateDir(); err != nil {
				return nil, none, false, err
			}
		}
	}
	platform, err := e.Manager.Platform(ctx)
	if err != nil {
		return nil, none, false, err
	}
	return e, platform, live, nil
}

// stateDir is where the engine keeps its state. On Windows, where anybody may make a folder beside it, it is made and
// closed to others before anything is in it.
func stateDir() (string, error) {
	if runtime.GOOS == "windows" {
		return agent.OwnStateDir()
	}
	return agent.DefaultStateDir, nil
}

// scanCacheDir is where extracts of package lists are kept between scans.
func scanCacheDir(o *scanOptions) string {
	if o.image.file != "" {
		return "" // its files are new each time
	}
	if agent.Privileged() {
		return filepath.Join(agent.DefaultStateDir, "cache")
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "" // slower, nothing else
	}
	return filepath.Join(dir, "oakum")
}

// chooseBaseline finds the baseline that --baseline names: nothing, a predefined one, or a file.
func chooseBaseline(name string, p patch.Platform) (*baseline.Baseline, time.Time, error) {
	none := time.Time{}
	if name == "" {
		d, ok := baseline.DefaultFor(p.Node.OS)
		if !ok {
			return nil, none, fmt.Errorf("there is no predefined baseline for %s", p.Node.OS)
		}
		return &d.Baseline, none, nil
	}
	if d, ok := baseline.FindPredefined(name); ok {
		return checkSystem(&d.Baseline, p, none)
	}
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(name, "./") {
		return nil, none, hinted(fmt.Sprintf("there is no predefined baseline %q and no such file", name),
			"the one for this system is "+defaultName(p.Node.OS))
	}
	if err != nil {
		return nil, none, fmt.Errorf("read the baseline: %w", err)
	}
	if strings.Contains(string(b[:min(len(b), 4096)]), `"patchBaseline"`) {
		snap, err := baseline.ParseSnapshot(b)
		if err != nil {
			return nil, none, fmt.Errorf("%s: %w", name, err)
		}
		return checkSystem(&snap.Baseline, p, snap.EvaluatedAt)
	}
	bl, err := baseline.Parse(name, b)
	if err != nil {
		return nil, none, err
	}
	if bl.OperatingSystem == "" {
		bl.OperatingSystem = p.Node.OS
	}
	if err := bl.Validate(p.Node.Product); err != nil {
		return nil, none, fmt.Errorf("%s: %w", name, err)
	}
	return checkSystem(bl, p, none)
}

func defaultName(os baseline.OS) string {
	d, _ := baseline.DefaultFor(os)
	return d.Name
}

func checkSystem(b *baseline.Baseline, p patch.Platform, at time.Time) (*baseline.Baseline, time.Time, error) {
	if b.OperatingSystem != p.Node.OS {
		return nil, at, hinted(fmt.Sprintf("the baseline %s is for %s, this system is %s", b.Name, b.OperatingSystem, p.Node.OS),
			"the predefined one for this system is "+defaultName(p.Node.OS))
	}
	return b, at, nil
}

// hintError is an error with advice. The root command prints both.
type hintError struct{ text, hint string }

func hinted(text, hint string) error  { return &hintError{text, hint} }
func (e *hintError) Error() string    { return e.text }
func (e *hintError) HintText() string { return e.hint }

func scanFailure(err error) error {
	if e, ok := errors.AsType[*patch.Error](err); ok && e.Hint != "" {
		return hinted(e.Error(), e.Hint)
	}
	return err
}

// sayAge tells how old the metadata is that was judged.
func sayAge(s *Streams, res *compliance.Result, now time.Time) {
	var oldest time.Time
	for _, r := range res.Header.Repositories {
		if !r.RefreshedAt.IsZero() && (oldest.IsZero() || r.RefreshedAt.Before(oldest)) {
			oldest = r.RefreshedAt
		}
	}
	if oldest.IsZero() {
		fmt.Fprintln(s.Err, "oakum: no package lists were found: newer versions are not known")
		return
	}
	fmt.Fprintf(s.Err, "oakum: package lists as of %s (%s ago)\n", oldest.Format("2006-01-02 15:04 MST"), age(now.Sub(oldest)))
}

func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// releasedAt asks an archive when a package file was published. Mirrors keep modification times.
func releasedAt(ctx context.Context, uri string) (time.Time, bool) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return time.Time{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, uri, nil)
	if err != nil {
		return time.Time{}, false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return time.Time{}, false
	}
	res.Body.Close()
	t, err := http.ParseTime(res.Header.Get("Last-Modified"))
	return t, err == nil && res.StatusCode == http.StatusOK
}
