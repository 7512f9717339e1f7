//go:build linux

package acceptance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// replaced is a package whose upgrade puts a new program in place of one that runs.
const replaced = `postinst="mkdir -p /usr/lib/oakd; cp /bin/sleep /usr/lib/oakd/new; mv -f /usr/lib/oakd/new /usr/lib/oakd/oakd"`

const bootedPackages = `deb bookworm oaktool 1.0-1
deb bookworm oakagent 1.0-1
deb bookworm oakd 1.0-1 ` + replaced + "\n"

// TestBootedNode does in one booted node what needs a service manager.
func TestBootedNode(t *testing.T) {
	t.Parallel()
	r := newAptRepo(t, bootedPackages)
	n := r.node(t, "booted", []string{"oaktool", "oakagent", "oakd"}, "--systemd")
	n.boot()
	s := install(t, "sqlite")
	a := n.serve(s, "web")

	// Journey W2, step 5: a script that asks for a reboot goes on after it.
	t.Run("W2.5", func(t *testing.T) {
		old := n.bootID()
		script := "test -e /root/once && echo back && exit 0; touch /root/once; exit 194"
		id := s.aws("ssm", "send-command", "--document-name", "AWS-RunShellScript", "--parameters", `commands=["`+script+`"]`, "--instance-ids", a.id).at("Command", "CommandId").String()
		s.commandEnd(id, 4*time.Minute).is("Status", "Success")
		list := s.aws("ssm", "list-command-invocations", "--command-id", id, "--details").at("CommandInvocations")
		if list.len() != 1 || !strings.Contains(list.at(0, "CommandPlugins", 0, "Output").String(), "back") || n.bootID() == old {
			t.Errorf("invocations %v, boot id %s before and %s after", list, old, n.bootID())
		}
	})

	// Trap G1: a package that restarts the agent's service must not take its own transaction with it.
	t.Run("Trap_G1_the_agent_is_restarted_by_a_package", func(t *testing.T) {
		r.build(bootedPackages + `deb bookworm-security oakagent 1.1-1 postinst="systemctl restart oakum-agent; sleep 2; echo survived >/root/survived"
deb bookworm-security oaktool 1.1-1 postinst="sleep 1"
`)
		g := s.patch(a, map[string]string{"Operation": "Install", "RebootOption": "NoReboot"})
		g.is("Status", "Success", "ResponseCode", 0)
		if b, err := os.ReadFile(filepath.Join(n.root, "root/survived")); err != nil || string(b) != "survived\n" {
			t.Errorf("the script that restarted the agent left %q, %v", b, err)
		}
		if v := n.versions(); v["oakagent:all"] != "1.1-1" || v["oaktool:all"] != "1.1-1" {
			t.Errorf("installed: %v", v)
		}
		b, err := os.ReadFile(filepath.Join(n.root, "var/lib/oakum/commands", g.at("CommandId").String(), "journal"))
		if err != nil {
			t.Fatal(err)
		}
		if c := strings.Count(string(b), `"step-starting","at"`) + strings.Count(string(b), `"kind":"step-resuming"`); c != 1 {
			t.Errorf("the step was started %d times", c)
		}
	})

	// Trap R5: services that use replaced files are restarted, those that others are ordered after first; one that dies is named.
	t.Run("restart_services", func(t *testing.T) {
		unit := func(name, more string) {
			writeFile(t, filepath.Join(n.root, "etc/systemd/system", name), "[Unit]\n"+more+"\n[Service]\nExecStart=/usr/lib/oakd/oakd infinity\nRestart=no\n")
		}
		unit("oakb.service", "")
		unit("oaka.service", "After=oakb.service")
		writeFile(t, filepath.Join(n.root, "etc/systemd/system/oakdies.service"),
			"[Service]\nExecStartPre=/bin/sh -c 'test ! -e /run/oakdies && touch /run/oakdies'\nExecStart=/usr/lib/oakd/oakd infinity\n")
		n.mustRun("systemctl", "daemon-reload")
		n.mustRun("systemctl", "start", "oaka", "oakb", "oakdies")
		r.build(bootedPackages + "deb bookworm-security oakd 1.1-1 " + replaced + "\n")
		out, _ := n.run("/bin/sh", "-c", "oakum install --restart-services --output json 2>/dev/null") // the exit code speaks of compliance
		var res struct {
			Status  string
			Install struct{ Restarts []string }
		}
		if err := json.Unmarshal([]byte(out), &res); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got := strings.Join(res.Install.Restarts, "\n")
		at := func(what string) int { return strings.Index(got, what) }
		if at("oakb.service: restarted") < 0 || at("oakb.service: restarted") > at("oaka.service: restarted") || at("oakdies.service: failed: ") < 0 {
			t.Errorf("restarts:\n%s", got)
		}
		for _, u := range []string{"oaka", "oakb"} {
			pid := strings.TrimSpace(n.mustRun("systemctl", "show", "-p", "MainPID", "--value", u))
			if exe := n.mustRun("readlink", "/proc/"+pid+"/exe"); strings.Contains(exe, "deleted") {
				t.Errorf("%s still runs %s", u, exe)
			}
		}
	})
}

// TestInstallFromSources installs from a baseline's own patch sources: the node's configuration is not touched.
func TestInstallFromSources(t *testing.T) {
	t.Parallel()
	r := newAptRepo(t, "deb bookworm oaktool 1.0-1\ndeb bookworm oakother 1.0-1\ndeb bookworm-security oakother 1.1-1\n")
	n := r.node(t, "sources", []string{"oaktool", "oakother"})
	own := newAptRepo(t, "deb bookworm oaktool 1.0-1\ndeb bookworm-security oaktool 1.5-1\n")
	key := filepath.Join(n.root, "etc/apt/own.asc")
	b, err := os.ReadFile(filepath.Join(own.dir, "repo/key.asc"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, key, string(b))
	writeFile(t, filepath.Join(n.root, "root/own.json"), `{"Name":"own","OperatingSystem":"DEBIAN","ApprovalRules":{"PatchRules":[
		{"PatchFilterGroup":{"PatchFilters":[]},"ApproveAfterDays":0,"EnableNonSecurity":true}]},
		"Sources":[{"Name":"own","Products":["*"],"Configuration":"deb [signed-by=/etc/apt/own.asc] `+own.url+` bookworm-security main"}]}`)
	before := n.mustRun("sh", "-c", "cat /etc/apt/sources.list.d/* /etc/apt/sources.list 2>/dev/null | sha256sum; ls /var/lib/apt/lists")
	out, _ := n.run("oakum", "install", "--baseline", "/root/own.json") // the exit code speaks of compliance
	if v := n.versions(); v["oaktool:all"] != "1.5-1" || v["oakother:all"] != "1.0-1" {
		t.Errorf("oaktool %s, oakother %s\n%s", v["oaktool:all"], v["oakother:all"], out)
	}
	if after := n.mustRun("sh", "-c", "cat /etc/apt/sources.list.d/* /etc/apt/sources.list 2>/dev/null | sha256sum; ls /var/lib/apt/lists"); after != before {
		t.Errorf("the node's sources or lists changed:\n%s\n%s", before, after)
	}
}
