//go:build linux

package acceptance

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machine is a Debian virtual machine with a kernel and a disk of its own.
type machine struct {
	t    *testing.T
	name string
}

func (m *machine) tool(args ...string) (string, error) {
	cmd := exec.Command("testbed/vm-node", args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return string(out) + errs.String(), err
	}
	return string(out), nil
}

func (m *machine) must(args ...string) string {
	m.t.Helper()
	out, err := m.tool(args...)
	if err != nil {
		m.t.Fatalf("vm-node %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (m *machine) run(line string) string { m.t.Helper(); return m.must("exec", m.name, "--", line) }

// powerCut ends the machine as pulling its plug does: what the system in it had not written to its disk is lost.
func (m *machine) powerCut() {
	m.t.Helper()
	b, err := os.ReadFile(filepath.Join(testbedDir(), "vm", m.name, "pid"))
	if err != nil {
		m.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		m.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		m.t.Fatal(err)
	}
	eventually(m.t, "the machine is off", time.Minute, func() bool { return syscall.Kill(pid, 0) != nil })
}

func testbedDir() string {
	if d := os.Getenv("OAKUM_TESTBED"); d != "" {
		return d
	}
	return "/var/tmp/oakum-testbed"
}

// TestVirtualMachine reboots a real kernel, and cuts the power in the middle of an install.
func TestVirtualMachine(t *testing.T) {
	if os.Getenv("OAKUM_VM") == "" {
		t.Skip("a virtual machine under emulation takes minutes: make soak runs this, with OAKUM_VM=1")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		missing(t, "virtual machines: %v", err)
	}
	const packages = "deb bookworm oaktool 1.0-1\ndeb bookworm oakkernel 6.1.1-1 restart=yes\ndeb bookworm oakslow 1.0-1\ndeb bookworm oaklast 1.0-1 depends=oakslow\n"
	r := newAptRepo(t, packages)
	r.url = strings.Replace(r.url, "127.0.0.1", "10.0.2.2", 1)
	m := &machine{t: t, name: "w-vm"}
	_, _ = m.tool("destroy", m.name) // of an earlier run
	m.must("create", m.name, "--copy", binary(t)+":/usr/local/bin/oakum", "--copy", r.sources("bookworm")+":/etc/apt/sources.list.d/archive.sources")
	t.Cleanup(func() { _, _ = m.tool("destroy", m.name) })
	m.must("start", m.name, "--wait", "400")
	m.run("rm /etc/apt/sources.list; apt-get -q update; apt-get -q -y install oaktool oakkernel oakslow oaklast; sed -i 's/^Suites:.*/Suites: bookworm bookworm-security/' /etc/apt/sources.list.d/archive.sources; rm -f /run/reboot-required*")
	s := install(t, "sqlite")
	act := s.aws("ssm", "create-activation", "--iam-role", "service-role/SSMRole", "--tags", "Key=PatchGroup,Value=vm")
	out := m.run("oakum agent register --insecure-http --endpoint " + strings.Replace(s.url, "127.0.0.1", "10.0.2.2", 1) + " --region us-east-1 --activation-id " +
		act.at("ActivationId").String() + " --activation-code " + act.at("ActivationCode").String() + " && oakum agent install")
	a := &agent{id: out[strings.Index(out, "mi-"):][:20]}
	eventually(t, "the machine is online", 2*time.Minute, func() bool {
		return s.aws("ssm", "describe-instance-information", "--filters", "Key=PingStatus,Values=Online").at("InstanceInformationList").len() == 1
	})
	boot := func() string { return strings.TrimSpace(m.run("cat /proc/sys/kernel/random/boot_id")) }

	// One command installs, reboots the kernel, and reports.
	old := boot()
	r.build(packages + "deb bookworm-security oaktool 1.1-1\ndeb bookworm-security oakkernel 6.1.2-1 restart=yes\n")
	id := s.aws("ssm", "send-command", "--document-name", "AWS-RunPatchBaseline", "--instance-ids", a.id, "--parameters", "Operation=Install").at("Command", "CommandId").String()
	s.commandEnd(id, 10*time.Minute).is("Status", "Success")
	if now := boot(); now == old {
		t.Error("the machine was not rebooted")
	}
	s.state(a).is("MissingCount", 0, "FailedCount", 0, "InstalledPendingRebootCount", 0, "RebootOption", "RebootIfNeeded")
	if v := m.run("dpkg-query -W -f '${Version} ' oaktool oakkernel"); strings.TrimSpace(v) != "1.1-1 6.1.2-1" && strings.TrimSpace(v) != "6.1.2-1 1.1-1" {
		t.Errorf("installed: %s", v)
	}

	// The power goes while a maintainer script runs: the run is finished after the next start, and nothing is half done.
	r.build(packages + "deb bookworm-security oakslow 1.1-1 postinst=\"touch /run/slow; sleep 20\"\ndeb bookworm-security oaklast 1.1-1 depends=oakslow\n")
	id = s.aws("ssm", "send-command", "--document-name", "AWS-RunPatchBaseline", "--instance-ids", a.id, "--parameters", "Operation=Install,RebootOption=NoReboot").at("Command", "CommandId").String()
	eventually(t, "the slow script runs", 3*time.Minute, func() bool {
		_, err := m.tool("exec", m.name, "--", "test -e /run/slow")
		return err == nil
	})
	m.powerCut()
	m.must("start", m.name, "--wait", "400")
	began := time.Now()
	end := s.commandEnd(id, 4*time.Minute)
	t.Logf("after the power cut the command ended %s, %v after the next login prompt", end.at("Status"), time.Since(began).Round(time.Second))
	end.is("Status", "Success")
	if audit := m.run("dpkg --audit"); audit != "" {
		t.Errorf("dpkg --audit: %s", audit)
	}
	if v := strings.Fields(m.run("dpkg-query -W -f '${Version} ' oakslow oaklast")); len(v) != 2 || v[0] != "1.1-1" || v[1] != "1.1-1" {
		t.Errorf("installed: %v", v)
	}
	s.state(a).is("MissingCount", 0, "FailedCount", 0, "InstalledPendingRebootCount", 2)
}
