//go:build linux

package acceptance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// workedRepo is the repository of the worked example of a node with advisories.
const workedRepo = `package openssl 3.0-1 x86_64
package openssl 3.0-2 x86_64
package openssl-libs 3.0-2 x86_64
package curl 7-2 x86_64
package curl 7-3 x86_64
package bash 5-1 x86_64
package bash 5-2 x86_64
package zlib 1-1 x86_64
package zlib 1-2 x86_64
package httpd 2.4-1 x86_64
package httpd 2.4-2 x86_64 requires="libbad >= 2"
package sudo 1-1 x86_64
package vim 8-1 x86_64
package vim 8-2 x86_64
package telnet 0.17-1 x86_64
package tmux 3-1 x86_64
package tmux 3-2 x86_64
package libbad 1-1 x86_64
package libbad 2-1 x86_64
package nginx 1-2 x86_64
advisory RHSA-1 type=security severity=Important issued=2026-06-01 cves=CVE-2026-1 packages=openssl-3.0-2.x86_64,openssl-libs-3.0-2.x86_64
advisory RHSA-2 type=security severity=Important issued=2026-07-10 packages=curl-7-3.x86_64
advisory RHSA-3 type=security severity=Low issued=2026-05-01 packages=bash-5-2.x86_64
advisory RHBA-4 type=bugfix issued=2026-06-20 packages=zlib-1-2.x86_64
advisory RHSA-5 type=security severity=Critical issued=2026-06-15 packages=httpd-2.4-2.x86_64
advisory RHSA-6 type=security severity=Critical issued=2026-01-01 packages=sudo-1-1.x86_64
advisory RHEA-7 type=enhancement issued=2026-06-01 packages=vim-8-2.x86_64
advisory RHSA-8 type=security severity=Critical issued=2026-06-01 packages=nginx-1-2.x86_64
`

const workedInstalled = "openssl-3.0-1 openssl-libs-3.0-2 curl-7-2 bash-5-1 zlib-1-1 httpd-2.4-1 sudo-1-1 vim-8-1 telnet tmux-3-1 libbad-1-1"

// workedSnapshot is the baseline of the worked example, as of 2026-07-14.
func workedSnapshot(action string) string {
	rule := func(level string, filters ...string) string {
		return fmt.Sprintf(`{"filterGroup":{"filters":[%s]},"complianceLevel":%q,"enableNonSecurity":false,"approveAfterDays":7}`, strings.Join(filters, ","), level)
	}
	return fmt.Sprintf(`{"patchBaseline":{"accountId":"000000000001","baselineId":"pb-0123456789abcdef0","name":"worked","operatingSystem":"REDHAT_ENTERPRISE_LINUX",
"globalFilters":{"filters":[]},"approvalRules":{"rules":[%s,%s]},"approvedPatches":["tmux*"],"approvedPatchesComplianceLevel":"HIGH","approvedPatchesEnableNonSecurity":false,
"rejectedPatches":["telnet*","libbad*"],"rejectedPatchesAction":%q,"sources":[]},"evaluatedAt":"2026-07-14T12:00:00Z"}`,
		rule("CRITICAL", `{"key":"CLASSIFICATION","values":["Security"]}`, `{"key":"SEVERITY","values":["Critical","Important"]}`),
		rule("UNSPECIFIED", `{"key":"CLASSIFICATION","values":["Bugfix"]}`), action)
}

// counts are Installed/Other/Pending/Rejected/Missing/Failed/NotApplicable and Critical/Security/Other not compliant.
func (s nodeScan) counts() string {
	return fmt.Sprintf("%d/%d/%d/%d/%d/%d/%d %d/%d/%d", s.InstalledCount, s.InstalledOtherCount, s.InstalledPendingRebootCount, s.InstalledRejectedCount, s.MissingCount, s.FailedCount,
		s.NotApplicableCount, s.CriticalNonCompliantCount, s.SecurityNonCompliantCount, s.OtherNonCompliantCount)
}

// install runs "oakum install --output json" in the node.
func (n *debNode) install(args ...string) (s nodeScan, by map[string]string, code int) {
	n.t.Helper()
	var stderr bytes.Buffer
	cmd := testbed(append([]string{"exec", n.name, "--", "/usr/local/bin/oakum", "install", "--output", "json"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	}
	if jerr := json.Unmarshal(out, &s); jerr != nil {
		n.t.Fatalf("oakum install in %s: %v, %v\n%.2000s\n%s", n.name, err, jerr, out, &stderr)
	}
	by = map[string]string{}
	for _, it := range s.Items {
		by[it.Name] = strings.TrimSpace(it.State + " " + it.Reason)
	}
	return s, by, code
}

// restart makes the engine see another boot: the node's boot id is this machine's, so what it remembers of it is changed.
func (n *debNode) restart() {
	n.t.Helper()
	n.mustRun("sh", "-c", `sed -i 's/"bootId":"[^"]*"/"bootId":"00000000-0000-4000-8000-000000000000"/' /var/lib/oakum/engine-state.json && `+
		`s=$(sed 's/.*"state"://; s/}$//' /var/lib/oakum/engine-state.json) && h=$(printf %s "$s" | sha256sum | cut -d' ' -f1) && printf '{"sha256":"%s","state":%s}\n' "$h" "$s" >/var/lib/oakum/engine-state.json`)
}

// TestWorkedExamplesOnDNF reproduces the worked examples E1, E2 and E3 on a node with real dnf.
func TestWorkedExamplesOnDNF(t *testing.T) {
	t.Parallel()
	r := newRPMRepo(t, workedRepo)
	base := r.node(t, "worked", "rhel9", workedInstalled)
	writeFile(t, filepath.Join(base.root, "root/block.json"), workedSnapshot("BLOCK"))
	writeFile(t, filepath.Join(base.root, "root/allow.json"), workedSnapshot("ALLOW_AS_DEPENDENCY"))
	writeFile(t, filepath.Join(base.root, "root/list.yaml"), "patches:\n  - id: 'bash*'\n")
	first := map[string]string{
		"openssl": "Missing", "openssl-libs": "Installed", "curl": "InstalledOther delay", "bash": "InstalledOther notApproved", "zlib": "Missing",
		"httpd": "Missing blockedByRejected", "sudo": "Installed", "vim": "InstalledOther notApproved", "telnet": "InstalledRejected",
		"tmux": "InstalledOther notSecurity", "libbad": "InstalledRejected rejected",
	}
	with := func(pairs ...string) map[string]string {
		out := map[string]string{}
		for k, v := range first {
			out[k] = v
		}
		for i := 0; i < len(pairs); i += 2 {
			out[pairs[i]] = pairs[i+1]
		}
		return out
	}
	check := func(t *testing.T, what string, s nodeScan, by map[string]string, counts string, want map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, by); diff != "" || s.counts() != counts {
			t.Errorf("%s: counts %s, want %s; states (-want +got):\n%s", what, s.counts(), counts, diff)
		}
	}
	t.Run("E1", func(t *testing.T) {
		n := base.clone(t, "worked-e1")
		s, by := n.scan("--baseline", "/root/block.json")
		check(t, "scan", s, by, "2/4/0/2/3/0/1 2/2/3", first)
		if s.Severity != "CRITICAL" || s.Status != "NON_COMPLIANT" {
			t.Errorf("%s %s", s.Status, s.Severity)
		}
		for _, it := range s.Items {
			if it.Name == "openssl" && (it.Level != "CRITICAL" || it.Title != "openssl.x86_64:0:3.0-2" || it.Classification != "Security" || it.Severity != "Important") {
				t.Errorf("openssl: %+v", it)
			}
		}
		s, by, code := n.install("--baseline", "/root/block.json")
		check(t, "install", s, by, "2/4/2/2/0/1/1 2/2/3", with("openssl", "InstalledPendingReboot", "zlib", "InstalledPendingReboot", "httpd", "Failed blockedByRejected"))
		if code != 1 {
			t.Errorf("install ends with %d, want 1", code)
		}
		n.restart()
		s, by = n.scan("--baseline", "/root/block.json")
		check(t, "after the reboot", s, by, "4/4/0/2/1/0/1 1/1/2", with("openssl", "Installed", "zlib", "Installed"))
		if got := strings.Fields(n.mustRun("rpm", "-q", "openssl", "zlib", "httpd", "libbad")); strings.Join(got, " ") != "openssl-3.0-2.x86_64 zlib-1-2.x86_64 httpd-2.4-1.x86_64 libbad-1-1.x86_64" {
			t.Errorf("rpm has %v", got)
		}
	})
	t.Run("E2", func(t *testing.T) {
		n := base.clone(t, "worked-e2")
		s, by := n.scan("--baseline", "/root/allow.json")
		check(t, "scan", s, by, "2/6/0/0/3/0/1 2/2/1", with("telnet", "InstalledOther", "libbad", "InstalledOther rejected", "httpd", "Missing"))
		s, by, code := n.install("--baseline", "/root/allow.json")
		check(t, "install", s, by, "2/5/4/0/0/0/1 2/2/2", with("telnet", "InstalledOther", "libbad", "InstalledPendingReboot", "httpd", "InstalledPendingReboot", "openssl", "InstalledPendingReboot", "zlib", "InstalledPendingReboot"))
		if code != 4 {
			t.Errorf("install ends with %d, want 4: compliant but for the reboot", code)
		}
		n.restart()
		s, by = n.scan("--baseline", "/root/allow.json")
		check(t, "after the reboot", s, by, "5/6/0/0/0/0/1 0/0/0", with("telnet", "InstalledOther", "libbad", "InstalledOther", "httpd", "Installed", "openssl", "Installed", "zlib", "Installed"))
		if s.Status != "COMPLIANT" {
			t.Errorf("status %s", s.Status)
		}
	})
	t.Run("E3", func(t *testing.T) {
		n := base.clone(t, "worked-e3")
		s, by, code := n.install("--baseline", "/root/block.json", "--install-override-list", "/root/list.yaml")
		check(t, "install", s, by, "2/3/1/2/3/0/1 2/2/4", with("bash", "InstalledPendingReboot"))
		if code != 3 {
			t.Errorf("install ends with %d, want 3", code)
		}
	})
}

// clone copies a node that nothing runs in.
func (n *debNode) clone(t *testing.T, name string) *debNode {
	t.Helper()
	freshNode(name)
	name = "w-" + name
	if out, err := testbed("clone", n.name, name).CombinedOutput(); err != nil {
		t.Fatalf("clone %s: %v: %s", n.name, err, out)
	}
	t.Cleanup(func() { _ = testbed("destroy", name).Run() }) // its base goes after it
	return &debNode{t: t, name: name, root: filepath.Join(filepath.Dir(filepath.Dir(n.root)), name, "root")}
}
