package cli

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"oakum.dev/document"
	"oakum.dev/internal/agent"
	"oakum.dev/patch"
	"oakum.dev/wire/ssm"
)

const runAsRoot = "run oakum doctor as root"

// node tests a managed node: registration, the way to its server, and the package manager.
func (d *doctor) node(ctx context.Context, stateDir string) {
	d.registration(ctx, stateDir)
	d.space(stateDir)
	if runtime.GOOS != "linux" {
		d.manager(ctx)
		return
	}
	for _, dir := range []string{"/var/cache/apt", "/var/lib/dpkg", "/var/cache/dnf", "/var/cache/yum", "/var/cache/zypp", "/var/lib/rpm", "/usr/lib/sysimage/rpm", "/boot"} {
		d.space(dir)
	}
	d.locks()
	d.interrupted(ctx, "/var/lib/dpkg")
	d.aptProxy(ctx)
	d.repositories(ctx)
}

func (d *doctor) registration(ctx context.Context, stateDir string) {
	st, err := agent.Status(stateDir)
	switch {
	case errors.Is(err, os.ErrPermission):
		d.add(checkWarn, "registration", stateDir+" cannot be read", runAsRoot)
		return
	case err != nil:
		d.add(checkFail, "registration", err.Error(), "if it is broken, register again: oakum agent register")
		return
	case !st.Registered:
		d.add(checkFail, "registration", stateDir+" holds no registration", `make an activation with "oakum activation create" and run the line that it prints`)
		return
	}
	d.ok("registration", "%s in region %s of %s, profile %s", st.InstanceID, st.Region, st.Endpoint, st.Profile)
	switch {
	case !st.Running:
		d.add(checkFail, "agent", "it is not running", startAgent()+", or oakum agent run")
	case st.LastError != "":
		d.add(checkWarn, "agent", fmt.Sprintf("process %d runs; its last contact was %s, and then: %s", st.PID, ago(st.LastContact, d.now()), st.LastError), "see the connection below")
	default:
		d.ok("agent", "process %d runs, last contact %s", st.PID, ago(st.LastContact, d.now()))
	}
	if st.QueuedReplies > 0 {
		d.add(checkWarn, "queue", plural(st.QueuedReplies, "reply waits", "replies wait")+" to be sent", "they are sent when the server can be reached")
	}
	n, err := agent.LoadNode(stateDir)
	if err != nil {
		d.fault(checkFail, "registration", err)
		return
	}
	endpoint, err := url.Parse(n.Endpoint())
	if err != nil {
		d.fault(checkFail, "address", err)
		return
	}
	if !d.reach(ctx, endpoint, n.HTTPClient()) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	name := document.RunPatchBaseline
	if err := n.Client().Call(ctx, "ssm", "GetDocument", &ssm.GetDocumentInput{Name: &name}, nil); err != nil {
		d.add(checkFail, "identity", fmt.Sprintf("the server refuses this node: %v", err), "if the node was deregistered, register it again: oakum agent register")
		return
	}
	d.ok("identity", "the server knows this node")
	if f, err := nodeFrozen(ctx, n); err == nil {
		d.freeze(f, st.Region)
	}
}

// space judges the file system that a directory is on.
func (d *doctor) space(dir string) {
	free, total, err := diskSpace(dir)
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, errors.ErrUnsupported):
		return
	case err != nil:
		d.fault(checkWarn, "disk "+dir, err)
		return
	}
	text := fmt.Sprintf("%s of %s free", sizeText(free), sizeText(total))
	switch {
	case free < 20<<20:
		d.add(checkFail, "disk "+dir, text, "make room: package managers and the agent cannot write; old kernels and the package manager's cache are the usual gains")
	case free < 500<<20 && free < total/5:
		d.add(checkWarn, "disk "+dir, text, "make room before installing: old kernels and the package manager's cache are the usual gains")
	default:
		d.ok("disk "+dir, "%s", text)
	}
}

// locks tells who holds the package manager.
func (d *doctor) locks() {
	held := false
	for _, path := range []string{
		"/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock", "/var/lib/rpm/.rpm.lock", "/usr/lib/sysimage/rpm/.rpm.lock",
	} {
		pid, err := lockedBy(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			d.fault(checkWarn, "locks", fmt.Errorf("look at %s: %w", path, err))
			held = true
		case pid != 0:
			d.add(checkWarn, "locks", fmt.Sprintf("%s is held by process %d (%s)", path, pid, processName(pid)),
				"scans and installs wait for it, 10 minutes at most; if it hangs, find out why before ending it")
			held = true
		}
	}
	if !held {
		d.ok("locks", "nobody holds the package manager")
	}
}

func processName(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		return "name unknown"
	}
	return strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
}

// interrupted finds package operations that were broken off.
func (d *doctor) interrupted(ctx context.Context, dir string) {
	entries, err := os.ReadDir(filepath.Join(dir, "updates"))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		d.fault(checkWarn, "dpkg", err)
		return
	}
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") == "" {
			d.add(checkFail, "dpkg", "it was interrupted", "dpkg --configure -a")
			return
		}
	}
	out, err := patch.OSExec{}.Run(ctx, patch.Command{Path: "/usr/bin/dpkg", Args: []string{"--audit"}, Env: patch.BaseEnv(), Timeout: time.Minute})
	switch text := strings.TrimSpace(string(out.Stdout)); {
	case err != nil:
		d.fault(checkWarn, "dpkg", err)
	case text != "" || out.Code != 0:
		first, _, _ := strings.Cut(orDefault(text, strings.TrimSpace(string(out.Stderr))), "\n")
		d.add(checkFail, "dpkg", "packages are not fully installed: "+first, `"dpkg --audit" names them; dpkg --configure -a and apt-get -f install mend most`)
	default:
		d.ok("dpkg", "every package is fully installed")
	}
}

// advice is what to do about repositories, in the words of each package manager.
var advice = map[string]struct{ refresh, configured, unsigned string }{
	"apt":    {"apt-get update", "/etc/apt/sources.list and sources.list.d", "its packages are not installed; add its key with Signed-By"},
	"dnf":    {"dnf makecache", "/etc/yum.repos.d", "its packages are installed unchecked; set gpgcheck=1 and import its key"},
	"yum":    {"yum makecache", "/etc/yum.repos.d", "its packages are installed unchecked; set gpgcheck=1 and import its key"},
	"zypper": {"zypper refresh", "/etc/zypp/repos.d", "its packages are installed unchecked; set gpgcheck=1 and import its key"},
}

// repositories judges the metadata and what the engine sees of reboots.
func (d *doctor) repositories(ctx context.Context) {
	quiet := &Streams{Out: discard{}, Err: discard{}}
	engine, platform, _, err := scanEngine(ctx, quiet, &scanOptions{root: "/"})
	if err != nil {
		d.fault(checkFail, "platform", err)
		return
	}
	d.ok("platform", "%s %s", platform.Name, platform.Version)
	inv, err := engine.Manager.Inventory(ctx, patch.InventoryRequest{Platform: platform, Now: d.now()})
	if err != nil {
		d.fault(checkFail, "repositories", err)
		return
	}
	say := advice[engine.Manager.Name()]
	fresh := 0
	var oldest time.Time
	for _, r := range inv.Repositories {
		switch {
		case r.RefreshedAt.IsZero():
			d.add(checkFail, "repositories", fmt.Sprintf("%s %s has never been fetched", r.URI, r.Suite), say.refresh+" shows what keeps it away")
		case r.Stale || d.now().Sub(r.RefreshedAt) > 48*time.Hour:
			d.add(checkWarn, "repositories", strings.TrimSpace(fmt.Sprintf("%s %s was fetched %s %s", r.URI, r.Suite, ago(r.RefreshedAt, d.now()), r.Detail)), say.refresh+" shows what keeps it away")
		case !r.Trusted:
			d.add(checkWarn, "repositories", fmt.Sprintf("%s %s is not signed by an accepted key", r.URI, r.Suite), say.unsigned)
		case r.NoAdvisories:
			d.add(checkWarn, "repositories", fmt.Sprintf("%s %s has no update notices", r.URI, r.Suite), "none of its packages counts as a security patch: a rule needs EnableNonSecurity for them")
		default:
			fresh++
		}
		if oldest.IsZero() || r.RefreshedAt.Before(oldest) {
			oldest = r.RefreshedAt
		}
	}
	switch {
	case len(inv.Repositories) == 0:
		d.add(checkFail, "repositories", "none is configured or fetched", "check "+say.configured+", then "+say.refresh)
	case fresh > 0:
		d.ok("repositories", "%d of %d fresh, the oldest fetched %s", fresh, len(inv.Repositories), ago(oldest, d.now()))
	}
	for i := range inv.Packages {
		if p := &inv.Packages[i]; p.Broken != "" && engine.Manager.Name() != "apt" { // dpkg has been asked above
			d.add(checkFail, "packages", p.Name+" is "+p.Broken, "an interrupted transaction left it: the next install finishes it")
		}
	}
	reboot, updaters, err := engine.Manager.Evidence(ctx, inv)
	switch {
	case err != nil:
		d.fault(checkWarn, "reboot", err)
	case reboot.Required:
		d.add(checkWarn, "reboot", "needed: "+strings.Join(reboot.Reasons, "; "), "plan a reboot")
	case len(reboot.Services) > 0:
		d.add(checkWarn, "reboot", "not needed, but services still use replaced files: "+serviceNames(reboot.Services), "restart these services")
	default:
		d.ok("reboot", "not needed")
	}
	if len(updaters) > 0 {
		d.add(checkWarn, "other updaters", strings.Join(updaters, ", ")+" install by themselves", "what they install is reported, but not governed by baselines; disable them if that matters")
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// server tests a server's data directory and whether it serves.
func (d *doctor) server(ctx context.Context, o *clientOptions, dir string) {
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		d.add(checkFail, "data directory", dir+" is not there or is no directory", "name the one that the server was started with")
		return
	}
	d.ok("data directory", "%s", dir)
	d.space(dir)
	for _, name := range []string{"master.key", "ca.key", "admin.credentials"} {
		path := filepath.Join(dir, name)
		st, err := os.Stat(path)
		switch {
		case errors.Is(err, os.ErrNotExist) && name == "master.key":
			d.add(checkFail, "secrets", path+" is missing: what is sealed with it cannot be read", "restore it from your copy; is this the right directory?")
		case err != nil:
		case runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0:
			d.add(checkFail, "secrets", fmt.Sprintf("%s can be read by others (mode %04o)", path, st.Mode().Perm()), "chmod 600 "+path)
		default:
			d.ok("secrets", "%s is private", name)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err == nil {
		if block, _ := pem.Decode(b); block != nil {
			if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
				d.certificate("authority", cert.NotAfter, "the server's own")
			}
		}
	}
	d.serving(ctx, o, len(b) > 0, dir)
}

// serving tests the addresses under which a server usually is, when none is configured.
func (d *doctor) serving(ctx context.Context, o *clientOptions, tls bool, dir string) {
	if o.endpoint != "" || os.Getenv("AWS_ENDPOINT_URL") != "" || os.Getenv("AWS_ENDPOINT_URL_SSM") != "" {
		return // the client's checks do it
	}
	try := *o
	try.endpoint = "http://127.0.0.1:8080"
	if tls {
		try.endpoint = "https://localhost:8443"
		if try.caFile == "" {
			try.caFile = filepath.Join(dir, "ca.pem")
		}
	}
	u, err := url.Parse(try.endpoint)
	noError(err)
	client, err := try.httpClient(ctx)
	if err != nil {
		d.fault(checkWarn, "connection", err)
		return
	}
	d.reach(ctx, u, client)
}
