package livepatch_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"oakum.dev/baseline"
	"oakum.dev/patch"
	"oakum.dev/patch/livepatch"
)

// amazonNode is an Amazon Linux whose programs change it as the real ones do.
type amazonNode struct {
	recorded
	packages []string
	modules  fstest.MapFS
	fail     string // a program that fails
	slept    time.Duration
	settles  time.Duration // when a transition ends
	said     []string
}

func (a *amazonNode) Run(ctx context.Context, c patch.Command) (patch.Output, error) {
	line := c.Path[strings.LastIndexByte(c.Path, '/')+1:] + " " + strings.Join(c.Args, " ")
	if _, known := a.answers[line]; known {
		return a.recorded.Run(ctx, c)
	}
	a.ran = append(a.ran, line)
	if a.fail != "" && strings.Contains(line, a.fail) {
		return patch.Output{Code: 1, Stderr: []byte("Loaded plugins\nError: Nothing to do\n")}, nil
	}
	if i := slices.Index(c.Args, "install"); i >= 0 {
		a.packages = append(a.packages, c.Args[i+1:]...)
	}
	if i := slices.Index(c.Args, "remove"); i >= 0 {
		a.packages = slices.DeleteFunc(a.packages, func(p string) bool { return slices.Contains(c.Args[i+1:], strings.Fields(p)[0]) })
	}
	return patch.Output{}, nil
}

func (a *amazonNode) configure(t *testing.T, os baseline.OS, kernel string, enable, rebootAllowed bool) (bool, error) {
	t.Helper()
	a.answers = amazonAnswers(kpatchNone, supportMsg+"2027-02-01.\n")
	if a.modules == nil {
		a.modules = sys()
	}
	return livepatch.Configure(t.Context(), livepatch.Node{OS: os, Arch: "x86_64", Kernel: kernel, FS: a.modules, Exec: a, Now: now}, livepatch.Change{
		Enable: enable, RebootAllowed: rebootAllowed,
		Say: func(s string) { a.said = append(a.said, s) },
		Sleep: func(_ context.Context, d time.Duration) bool {
			if a.slept += d; a.settles > 0 && a.slept >= a.settles {
				for name := range a.modules {
					if strings.HasSuffix(name, "/transition") {
						a.modules[name] = &fstest.MapFile{Data: []byte("0\n")}
					}
				}
			}
			return true
		},
		Packages: func(context.Context) ([]livepatch.Installed, error) { return pkgs(a.packages...), nil },
	})
}

func (a *amazonNode) did(words string) bool {
	return slices.ContainsFunc(a.ran, func(l string) bool { return strings.HasPrefix(l, words) })
}

func TestEnable(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		os     baseline.OS
		kernel string
		want   []string
	}{
		{baseline.AmazonLinux2, al2, []string{
			"yum -y install binutils yum-plugin-kernel-livepatch", "yum -y kernel-livepatch enable", "yum -y install kpatch-runtime",
			"systemctl enable kpatch.service", "amazon-linux-extras enable livepatch",
		}},
		{baseline.AmazonLinux2023, al2023, []string{
			"dnf -y install kpatch-dnf", "dnf -y kernel-livepatch auto", "dnf -y install kpatch-runtime", "systemctl enable --now kpatch.service",
		}},
	} {
		for range 2 { // a second time does no harm
			a := &amazonNode{}
			reboot, err := a.configure(t, tc.os, tc.kernel, true, true)
			if err != nil || reboot {
				t.Errorf("%s: reboot %v, %v", tc.os, reboot, err)
			}
			if len(a.ran) < len(tc.want) || !slices.Equal(a.ran[:len(tc.want)], tc.want) {
				t.Errorf("%s ran\n%s", tc.os, strings.Join(a.ran, "\n"))
			}
			if !slices.Contains(a.said, "kernel live patching: Enabled") {
				t.Errorf("%s said %q", tc.os, a.said)
			}
		}
	}
}

// TestEnableClearFailures: each failure says what is in the way, and changes nothing that it need not.
func TestEnableClearFailures(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		os      baseline.OS
		kernel  string
		allowed bool
		fail    string
		reason  string
		text    string
		ran     int
	}{
		{"ubuntu", baseline.Ubuntu, ubuntu, true, "", "UNSUPPORTED_OS", "Amazon Linux 2 and Amazon Linux 2023 only", 0},
		{"kernel_5.15", baseline.AmazonLinux2, "5.15.1-1.amzn2.x86_64", true, "", "UNSUPPORTED_OS", "no live patches for kernel 5.15", 0},
		{"old_kernel_without_reboot", baseline.AmazonLinux2, "4.14.154-128.181.amzn2.x86_64", false, "", "REBOOT", "RebootAllowed is False", 0},
		{"a_step_fails", baseline.AmazonLinux2023, al2023, true, "kernel-livepatch auto", "FAILED", "dnf -y kernel-livepatch auto ended with 1: Error: Nothing to do", 2},
	} {
		a := &amazonNode{fail: tc.fail}
		reboot, err := a.configure(t, tc.os, tc.kernel, true, tc.allowed)
		e, ok := err.(*patch.Error)
		if reboot || !ok || e.Reason != tc.reason || !strings.Contains(e.Error(), tc.text) || len(a.ran) != tc.ran {
			t.Errorf("%s: reboot %v, error %v, ran %v", tc.name, reboot, err, a.ran)
		}
	}
}

func TestEnableReplacesAnOldKernelFirst(t *testing.T) {
	t.Parallel()
	a := &amazonNode{}
	reboot, err := a.configure(t, baseline.AmazonLinux2, "4.14.154-128.181.amzn2.x86_64", true, true)
	if err != nil || !reboot || !slices.Equal(a.ran, []string{"yum -y update kernel"}) {
		t.Errorf("reboot %v, %v, ran %v", reboot, err, a.ran)
	}
	if reboot, err = a.configure(t, baseline.AmazonLinux2, "4.14.200-1.1.amzn2.x86_64", true, true); err != nil || reboot || !a.did("yum -y kernel-livepatch enable") {
		t.Errorf("after the reboot: %v, %v, ran %v", reboot, err, a.ran)
	}
}

func TestDisable(t *testing.T) {
	t.Parallel()
	on := []string{"bash 5", "kpatch-dnf 1", "kpatch-runtime 1", patch57, "kernel-livepatch-repo-s3 1"}
	for _, allowed := range []bool{true, false} {
		a := &amazonNode{packages: slices.Clone(on), modules: sys("livepatch_a 1 0")}
		reboot, err := a.configure(t, baseline.AmazonLinux2023, al2023, false, allowed)
		want := []string{
			"dnf -y kernel-livepatch manual", "systemctl disable --now kpatch.service", "dnf -y remove kernel-livepatch-6.1.57-29.131 kpatch-dnf kpatch-runtime",
		}
		if err != nil || reboot != allowed || !slices.Equal(a.ran, want) {
			t.Errorf("reboot %v, %v, ran\n%s", reboot, err, strings.Join(a.ran, "\n"))
		}
		a.modules, a.ran = sys(), nil // as after the reboot
		if reboot, err = a.configure(t, baseline.AmazonLinux2023, al2023, false, allowed); reboot || err != nil || len(a.ran) > 0 {
			t.Errorf("again: reboot %v, %v, ran %v", reboot, err, a.ran)
		}
	}
	a := &amazonNode{packages: []string{"yum-plugin-kernel-livepatch 1"}}
	reboot, err := a.configure(t, baseline.AmazonLinux2, al2, false, true)
	if err != nil || reboot || !a.did("yum -y kernel-livepatch disable") || !a.did("yum -y remove yum-plugin-kernel-livepatch") {
		t.Errorf("Amazon Linux 2: reboot %v, %v, ran %v", reboot, err, a.ran)
	}
}

// TestNeverDisabledInTransition waits up to 120 s, and then names the tasks that hold the transition up.
func TestNeverDisabledInTransition(t *testing.T) {
	t.Parallel()
	stuck := sys("livepatch_a 1 1")
	stuck["proc/4711/task/4712/patch_state"] = &fstest.MapFile{Data: []byte("0\n")}
	stuck["proc/4711/task/4712/comm"] = &fstest.MapFile{Data: []byte("oldserver\n")}
	a := &amazonNode{packages: []string{"kpatch-dnf 1", "kpatch-runtime 1", patch57}, modules: stuck}
	_, err := a.configure(t, baseline.AmazonLinux2023, al2023, false, true)
	if err == nil || !strings.Contains(err.Error(), "livepatch_a is still going in or out after 2m0s, held up by: oldserver (4712)") || len(a.ran) > 0 || a.slept != 120*time.Second {
		t.Errorf("%v, ran %v, slept %s", err, a.ran, a.slept)
	}
	a = &amazonNode{packages: []string{"kpatch-dnf 1", "kpatch-runtime 1", patch57}, modules: sys("livepatch_a 1 1"), settles: 10 * time.Second}
	if _, err := a.configure(t, baseline.AmazonLinux2023, al2023, false, true); err != nil || !a.did("dnf -y remove") || a.slept != 10*time.Second {
		t.Errorf("%v, ran %v, slept %s", err, a.ran, a.slept)
	}
}
