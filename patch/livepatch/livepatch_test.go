package livepatch_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"oakum.dev/baseline"
	"oakum.dev/compliance"
	"oakum.dev/patch"
	"oakum.dev/patch/livepatch"
)

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// recorded answers for programs: "kpatch list" and so on. A program that is not there cannot be started.
type recorded struct {
	answers map[string]answer
	ran     []string
}

type answer struct {
	text string
	code int
}

func (r *recorded) Run(_ context.Context, c patch.Command) (patch.Output, error) {
	line := c.Path[strings.LastIndexByte(c.Path, '/')+1:] + " " + strings.Join(c.Args, " ")
	r.ran = append(r.ran, line)
	a, ok := r.answers[line]
	if !ok {
		return patch.Output{}, os.ErrNotExist
	}
	return patch.Output{Code: a.code, Stdout: []byte(a.text)}, nil
}

// sys is a /sys/kernel/livepatch: name to enabled and transition.
func sys(modules ...string) fstest.MapFS {
	out := fstest.MapFS{"proc/version": {}}
	for _, m := range modules {
		f := strings.Fields(m) // "name 1 0"
		out["sys/kernel/livepatch/"+f[0]+"/enabled"] = &fstest.MapFile{Data: []byte(f[1] + "\n")}
		out["sys/kernel/livepatch/"+f[0]+"/transition"] = &fstest.MapFile{Data: []byte(f[2] + "\n")}
	}
	return out
}

const (
	al2    = "5.10.102-99.473.amzn2.x86_64"
	al2023 = "6.1.57-29.131.amzn2023.x86_64"
	el9    = "5.14.0-284.11.1.el9_2.x86_64"
	sle    = "5.14.21-150400.24.33-default"
	ubuntu = "5.15.0-100-generic"
)

// Outputs in the formats of: Amazon Linux 2 and 2023 User Guides, "Kernel Live Patching" (kpatch list, support); Red Hat,
// "Applying patches with kernel live patching"; SUSE Administration Guide, "Kernel Live Patching"; Landscape REST API,
// "Livepatch" (canonical-livepatch and Ubuntu Pro); Oracle, "Ksplice User's Guide".
const (
	kpatchAmazon = "Loaded patch modules:\nlivepatch_CVE_2022_36946 [enabled]\n\nInstalled patch modules:\nlivepatch_CVE_2022_36946 (6.1.57-29.131.amzn2023.x86_64)\n"
	kpatchNone   = "Loaded patch modules:\n\nInstalled patch modules:\n"
	kpatchOld    = "Loaded patch modules:\n\nInstalled patch modules:\nlivepatch_CVE_2022_36946 (6.1.56-1.1.amzn2023.x86_64)\n"
	kpatchRHEL   = "Loaded patch modules:\nkpatch_5_14_0_284_11_1_1_1 [enabled]\n\nInstalled patch modules:\nkpatch_5_14_0_284_11_1_1_1 (5.14.0-284.11.1.el9_2.x86_64)\n"
	kpatchStuck  = "Loaded patch modules:\nlivepatch_x [enabling...]\n\nStalled processes:\nsleep 4711\n\nInstalled patch modules:\nlivepatch_x (6.1.57-29.131.amzn2023.x86_64)\n"
	supportMsg   = "The current version of the Linux kernel you are running will no longer receive live patches after "
	canonical    = `{"Client-Version":"10.8.3","Architecture":"amd64","Status":[
	  {"Kernel":"5.15.0-99.109-generic","Running":false,"Livepatch":{"State":"applied","Fixes":[{"Name":"cve-2000-0001","Patched":true}]}},
	  {"Kernel":"5.15.0-100.110-generic","Running":true,"Livepatch":{"CheckState":"checked","Fixes":[{"Name":"cve-2023-6270","Description":"","Bug":"","Patched":true},
	   {"Name":"cve-2024-26581","Patched":true},{"Name":"cve-2024-26597","Patched":false}],"State":"applied","Version":"104.1"},"Supported":"supported","UpgradeRequiredDate":"2027-03-07"}],"tier":"updates"}`
	pro = `{"attached":true,"services":[{"name":"esm-infra","status":"enabled"},{"available":"yes","blocked_by":[],"description":"Canonical Livepatch service","entitled":"yes","name":"livepatch","status":"disabled","warning":null}]}`
	klp = "livepatch_6_150400_2_2\n    active: 1\n    RPM: kernel-livepatch-5_14_21-150400_24_33-default-6-150400.2.2.x86_64\n" +
		"    CVE: CVE-2023-26545 CVE-2023-1652\n         CVE-2023-1281\n    bug fixes and enhancements: (none)\n"
	klpInitial = "livepatch_1_5_3_2\n    active: 1\n    RPM: kernel-livepatch-5_14_21-150400_24_33-default-1-150400.1.1.x86_64\n    CVE: (none - this is an initial kernel live patch)\n    bug fixes and enhancements: (none)\n"
)

func amazonAnswers(list, support string) map[string]answer {
	return map[string]answer{
		"kpatch list": {text: list}, "systemctl is-failed kpatch.service": {text: "active\n", code: 1}, "systemctl is-enabled kpatch.service": {text: "enabled\n"},
		"dnf kernel-livepatch support": {text: support}, "yum kernel-livepatch supported": {text: support},
	}
}

func pkgs(names ...string) []livepatch.Installed {
	var out []livepatch.Installed
	for _, n := range names {
		name, version, _ := strings.Cut(n, " ")
		out = append(out, livepatch.Installed{Name: name, Version: version})
	}
	return out
}

const (
	patch57     = "kernel-livepatch-6.1.57-29.131 1.0-2.amzn2023"
	patch57None = "kernel-livepatch-6.1.57-29.131 1.0-0.amzn2023"
	patch56     = "kernel-livepatch-6.1.56-1.1 1.0-3.amzn2023"
)

// TestStates has a node for every state of every system.
func TestStates(t *testing.T) {
	t.Parallel()
	with := func(m map[string]answer, k, text string, code int) map[string]answer {
		m[k] = answer{text, code}
		return m
	}
	on := []string{"kpatch-dnf", "kpatch-runtime"}
	for _, tc := range []struct {
		name     string
		os       baseline.OS
		kernel   string
		arch     string
		packages []string
		modules  []string
		answers  map[string]answer
		want     livepatch.State
		detail   string
		cves     []string
	}{
		{name: "debian_has_none", os: baseline.Debian, kernel: "6.1.0-1-amd64", want: livepatch.Unsupported},
		{name: "al2_kernel_5.15", os: baseline.AmazonLinux2, kernel: "5.15.1-1.amzn2.x86_64", want: livepatch.Unsupported, detail: "kernel 5.15 on x86_64"},
		{name: "al2_4.14_on_arm", os: baseline.AmazonLinux2, kernel: "4.14.200-1.1.amzn2.aarch64", arch: "aarch64", want: livepatch.Unsupported},
		{name: "al2_4.14_too_old", os: baseline.AmazonLinux2, kernel: "4.14.154-128.181.amzn2.x86_64", want: livepatch.Available, detail: "too old"},
		{name: "al2_first_4.14", os: baseline.AmazonLinux2, kernel: "4.14.165-131.185.amzn2.x86_64", want: livepatch.Available, detail: "yum-plugin-kernel-livepatch is not installed"},
		{name: "al2_5.10_on_arm", os: baseline.AmazonLinux2, kernel: "5.10.102-99.473.amzn2.aarch64", arch: "aarch64", want: livepatch.Available},
		{name: "al2023_without_the_plugin", os: baseline.AmazonLinux2023, kernel: al2023, want: livepatch.Available, detail: "kpatch-dnf is not installed"},
		{name: "al2023_without_the_runtime", os: baseline.AmazonLinux2023, kernel: al2023, packages: []string{"kpatch-dnf"}, answers: amazonAnswers(kpatchNone, ""), want: livepatch.Available, detail: "kpatch-runtime"},
		{name: "al2023_on", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57None), answers: amazonAnswers(kpatchNone, supportMsg+"2027-02-01.\n"), want: livepatch.Enabled},
		{
			name: "al2023_service_not_enabled", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57None),
			answers: with(amazonAnswers(kpatchNone, ""), "systemctl is-enabled kpatch.service", "disabled\n", 1), want: livepatch.Available, detail: "gone after a reboot",
		},
		{
			name: "al2023_active", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57), modules: []string{"livepatch_CVE_2022_36946 1 0"},
			answers: amazonAnswers(kpatchAmazon, supportMsg+"2027-02-01.\n"), want: livepatch.Active, cves: []string{"CVE-2022-36946"},
		},
		{
			name: "al2023_last_but_13_days", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57), modules: []string{"livepatch_CVE_2022_36946 1 0"},
			answers: amazonAnswers(kpatchAmazon, supportMsg+"2026-12-05.\n"), want: livepatch.Expiring, detail: "after 2026-12-05", cves: []string{"CVE-2022-36946"},
		},
		{
			name: "al2023_14_days_are_enough", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57), modules: []string{"livepatch_CVE_2022_36946 1 0"},
			answers: amazonAnswers(kpatchAmazon, supportMsg+"2026-12-07.\n"), want: livepatch.Active, cves: []string{"CVE-2022-36946"},
		},
		{
			name: "al2023_the_last_day", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57None), answers: amazonAnswers(kpatchNone, supportMsg+"2026-11-22.\n"),
			want: livepatch.Expiring,
		},
		{
			name: "al2023_the_day_after", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57None), answers: amazonAnswers(kpatchNone, supportMsg+"2026-11-21.\n"),
			want: livepatch.Expired, detail: "no more live patches",
		},
		{
			name: "al2_ended", os: baseline.AmazonLinux2, kernel: al2, packages: []string{"yum-plugin-kernel-livepatch", "kpatch-runtime"},
			answers: amazonAnswers(kpatchNone, "Reboot into the latest kernel version to get a continued stream of live patches.\n"), want: livepatch.Expired,
		},
		{
			name: "al2023_installed_and_not_loaded", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57),
			answers: amazonAnswers("Loaded patch modules:\n\nInstalled patch modules:\nlivepatch_CVE_2022_36946 (6.1.57-29.131.amzn2023.x86_64)\n", ""), want: livepatch.Stale, detail: "not loaded",
		},
		{
			name: "al2023_package_without_module", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57), answers: amazonAnswers(kpatchNone, ""),
			want: livepatch.Stale, detail: "no module is loaded",
		},
		{
			name: "al2023_not_loaded_and_not_at_boot", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57),
			answers: with(amazonAnswers(kpatchNone, ""), "systemctl is-enabled kpatch.service", "disabled\n", 1), want: livepatch.Stale, detail: "which loads it at boot, is not enabled",
		},
		{
			name: "al2023_active_and_not_at_boot", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57), modules: []string{"livepatch_CVE_2022_36946 1 0"},
			answers: with(amazonAnswers(kpatchAmazon, ""), "systemctl is-enabled kpatch.service", "masked\n", 1), want: livepatch.Active, detail: "gone after a reboot", cves: []string{"CVE-2022-36946"},
		},
		{
			name: "al2023_of_another_kernel", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch56), answers: amazonAnswers(kpatchOld, ""),
			want: livepatch.Stale, detail: "kernel-livepatch-6.1.56-1.1-1.0-3.amzn2023",
		},
		{
			name: "al2023_service_failed", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57),
			answers: with(amazonAnswers(kpatchNone, ""), "systemctl is-failed kpatch.service", "failed\n", 0), want: livepatch.Failed, detail: "journalctl",
		},
		{
			name: "al2023_module_refused", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57), modules: []string{"livepatch_CVE_2022_36946 0 0"},
			answers: amazonAnswers(kpatchAmazon, ""), want: livepatch.Failed, detail: "does not use the module",
		},
		{
			name: "al2023_in_transition", os: baseline.AmazonLinux2023, kernel: al2023, packages: append(on, patch57), modules: []string{"livepatch_x 1 1"},
			answers: amazonAnswers(kpatchStuck, ""), want: livepatch.Enabled,
		},
		{name: "rhel_without_kpatch", os: baseline.RedHat, kernel: el9, want: livepatch.Available, detail: "kpatch is not installed"},
		{
			name: "rhel_active", os: baseline.RedHat, kernel: el9, packages: []string{"kpatch", "kpatch-patch-5_14_0-284_11_1 1-1.el9_2"}, modules: []string{"kpatch_5_14_0_284_11_1_1_1 1 0"},
			answers: amazonAnswers(kpatchRHEL, ""), want: livepatch.Active,
		},
		{name: "alma_on", os: baseline.AlmaLinux, kernel: el9, packages: []string{"kpatch", "kpatch-patch-5_14_0-284_11_1 0-0.el9_2"}, answers: amazonAnswers(kpatchNone, ""), want: livepatch.Enabled},
		{name: "sles_without", os: baseline.SUSE, kernel: sle, want: livepatch.Available},
		{
			name: "sles_initial", os: baseline.SUSE, kernel: sle, packages: []string{"kernel-livepatch-tools 1.4", "kernel-livepatch-5_14_21-150400_24_33-default 1-150400.1.1"},
			modules: []string{"livepatch_1_5_3_2 1 0"}, answers: map[string]answer{"klp -v patches": {text: klpInitial}}, want: livepatch.Enabled,
		},
		{
			name: "sles_active", os: baseline.SUSE, kernel: sle, packages: []string{"kernel-livepatch-tools 1.4", "kernel-livepatch-5_14_21-150400_24_33-default 6-150400.2.2"},
			modules: []string{"livepatch_6_150400_2_2 1 0"}, answers: map[string]answer{"klp -v patches": {text: klp}}, want: livepatch.Active, cves: []string{"CVE-2023-1281", "CVE-2023-1652", "CVE-2023-26545"},
		},
		{
			name: "sles_of_another_kernel", os: baseline.SUSE, kernel: sle, packages: []string{"kernel-livepatch-tools 1.4", "kernel-livepatch-5_14_21-150400_24_28-default 6-150400.2.2"},
			answers: map[string]answer{"klp -v patches": {text: ""}}, want: livepatch.Stale,
		},
		{
			name: "sles_not_loaded", os: baseline.SUSE, kernel: sle, packages: []string{"kernel-livepatch-tools 1.4", "kernel-livepatch-5_14_21-150400_24_33-default 6-150400.2.2"},
			answers: map[string]answer{"klp -v patches": {text: ""}}, want: livepatch.Stale, detail: "no module is loaded",
		},
		{name: "ubuntu_without_pro", os: baseline.Ubuntu, kernel: ubuntu, want: livepatch.Available},
		{name: "ubuntu_off", os: baseline.Ubuntu, kernel: ubuntu, packages: []string{"ubuntu-pro-client"}, answers: map[string]answer{"pro status --format json": {text: pro}}, want: livepatch.Available, detail: "pro enable livepatch"},
		{
			name: "ubuntu_not_for_this_release", os: baseline.Ubuntu, kernel: ubuntu, packages: []string{"ubuntu-pro-client"},
			answers: map[string]answer{"pro status --format json": {text: strings.Replace(pro, `"disabled"`, `"n/a"`, 1)}}, want: livepatch.Unsupported,
		},
		{
			name: "ubuntu_silent", os: baseline.Ubuntu, kernel: ubuntu, packages: []string{"ubuntu-pro-client"},
			answers: map[string]answer{"pro status --format json": {text: strings.Replace(pro, `"disabled"`, `"enabled"`, 1)}}, want: livepatch.Failed, detail: "does not answer",
		},
		{
			name: "ubuntu_active", os: baseline.Ubuntu, kernel: ubuntu, answers: map[string]answer{"canonical-livepatch status --format json": {text: canonical}},
			want: livepatch.Active, cves: []string{"CVE-2023-6270", "CVE-2024-26581"},
		},
		{
			name: "ubuntu_nothing_yet", os: baseline.Ubuntu, kernel: ubuntu,
			answers: map[string]answer{"canonical-livepatch status --format json": {text: strings.ReplaceAll(canonical, `"applied"`, `"nothing-to-apply"`)}}, want: livepatch.Enabled,
		},
		{
			name: "ubuntu_bug", os: baseline.Ubuntu, kernel: ubuntu,
			answers: map[string]answer{"canonical-livepatch status --format json": {text: strings.ReplaceAll(canonical, `"applied"`, `"applied-with-bug"`)}}, want: livepatch.Failed,
		},
		{
			name: "ubuntu_end_of_life", os: baseline.Ubuntu, kernel: ubuntu,
			answers: map[string]answer{"canonical-livepatch status --format json": {text: strings.Replace(canonical, `"supported"`, `"kernel-end-of-life"`, 1)}}, want: livepatch.Expired,
			cves: []string{"CVE-2023-6270", "CVE-2024-26581"},
		},
		{
			name: "ubuntu_unsupported_kernel", os: baseline.Ubuntu, kernel: ubuntu,
			answers: map[string]answer{"canonical-livepatch status --format json": {text: strings.Replace(canonical, `"supported"`, `"unsupported"`, 1)}}, want: livepatch.Unsupported,
		},
		{name: "oracle_active", os: baseline.OracleLinux, kernel: "3.8.13-44.1.1.el6uek.x86_64", packages: []string{"uptrack"}, answers: map[string]answer{"uptrack-uname -r": {text: "3.8.13-55.1.1.el6uek.x86_64\n"}}, want: livepatch.Active},
		{name: "oracle_on", os: baseline.OracleLinux, kernel: "3.8.13-44.1.1.el6uek.x86_64", packages: []string{"uptrack"}, answers: map[string]answer{"uptrack-uname -r": {text: "3.8.13-44.1.1.el6uek.x86_64\n"}}, want: livepatch.Enabled},
		{name: "oracle_silent", os: baseline.OracleLinux, kernel: "3.8.13-44.1.1.el6uek.x86_64", packages: []string{"uptrack"}, want: livepatch.Failed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			arch := tc.arch
			if arch == "" {
				arch = "x86_64"
			}
			s := livepatch.Read(t.Context(), livepatch.Node{
				OS: tc.os, Arch: arch, Kernel: tc.kernel, FS: sys(tc.modules...), Exec: &recorded{answers: tc.answers}, Packages: pkgs(tc.packages...), Now: now,
			})
			if s.State != tc.want || !strings.Contains(s.Detail, tc.detail) {
				t.Errorf("state %s (%s), want %s (%s)", s.State, s.Detail, tc.want, tc.detail)
			}
			if diff := cmp.Diff(tc.cves, s.CVEs); diff != "" {
				t.Errorf("CVEs (-want +got):\n%s", diff)
			}
		})
	}
}

// TestNothingIsStartedInVain: tools of packages that are not there are not started.
func TestNothingIsStartedInVain(t *testing.T) {
	t.Parallel()
	r := &recorded{}
	livepatch.Read(t.Context(), livepatch.Node{OS: baseline.RockyLinux, Arch: "x86_64", Kernel: el9, FS: sys(), Exec: r, Now: now})
	if len(r.ran) > 0 {
		t.Errorf("ran %v", r.ran)
	}
}

func TestApplicable(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pkg, kernel string
		want        bool
	}{
		{"kernel-livepatch-5.10.102-99.473", al2, true},
		{"kernel-livepatch-5.10.102-99.473", "5.10.102-99.473.amzn2.aarch64", true},
		{"kernel-livepatch-5.10.102-99", al2, false},
		{"kernel-livepatch-5.10.102-99.47", al2, false},
		{"kernel-livepatch-5.10.102-99.4731", al2, false},
		{"kernel-livepatch-6.1.134-150.224", "6.1.134-150.224.amzn2023.x86_64", true},
		{"kernel-livepatch-repo-s3", al2, false},
		{"kernel-livepatch-tools", sle, false},
		{"kernel-livepatch-5_14_21-150400_24_33-default", sle, true},
		{"kernel-livepatch-5_14_21-150400_24_33-azure", sle, false},
		{"kernel-livepatch-5_14_21-150400_24_3-default", sle, false},
		{"kgraft-patch-4_4_21-69-default", "4.4.21-69-default", true},
		{"kpatch-patch-5_14_0-284_11_1", el9, true},
		{"kpatch-patch-5_14_0-284_11", el9, false},
		{"kpatch-patch-4_18_0-147_0_3", "4.18.0-147.0.3.el8_1.x86_64", true},
		{"kpatch-patch-3_10_0-1062_1_1", "3.10.0-1062.1.1.el7.x86_64", true},
		{"kernel", al2, false},
		{"kernel-livepatch-5.10.102-99.473", "", false},
	} {
		if got := livepatch.Applicable(tc.pkg, tc.kernel); got != tc.want {
			t.Errorf("Applicable(%s, %s) = %v", tc.pkg, tc.kernel, got)
		}
	}
	for p, want := range map[string]bool{
		patch57None: true, patch57: false, "kpatch-patch-4_18_0-147_0_3 0-0.el8_1": true, "kpatch-patch-4_18_0-147 1-4.el8": false,
		"kernel-livepatch-5_14_21-150400_24_33-default 1-150400.1.1": true, "kernel-livepatch-5_14_21-150400_24_33-default 6-150400.2.2": false, "kernel 0-0": false,
	} {
		name, version, _ := strings.Cut(p, " ")
		if got := livepatch.Empty(name, version); got != want {
			t.Errorf("Empty(%s) = %v", p, got)
		}
	}
}

// TestEquivalence: a newer kernel counts as installed when live patches in force fix every CVE that it fixes.
func TestEquivalence(t *testing.T) {
	t.Parallel()
	active := livepatch.Status{State: livepatch.Active, Kernel: al2023, CVEs: []string{"CVE-2026-1", "CVE-2026-2"}, SupportEnd: now.AddDate(0, 1, 0)}
	off := active
	off.State = livepatch.Available
	for _, tc := range []struct {
		name   string
		s      livepatch.Status
		update livepatch.KernelUpdate
		want   livepatch.Verdict
	}{
		{"all_covered", active, livepatch.KernelUpdate{CVEs: []string{"CVE-2026-2", "CVE-2026-1"}}, livepatch.Verdict{State: compliance.Installed, Covered: true}},
		{"one_remains", active, livepatch.KernelUpdate{CVEs: []string{"CVE-2026-1", "CVE-2026-3", "CVE-2026-3"}}, livepatch.Verdict{State: compliance.Missing, Remaining: []string{"CVE-2026-3"}}},
		{"no_cves_are_not_covered", active, livepatch.KernelUpdate{}, livepatch.Verdict{State: compliance.Missing}},
		{"installed_and_covered", active, livepatch.KernelUpdate{CVEs: []string{"CVE-2026-1"}, Installed: true}, livepatch.Verdict{State: compliance.Installed, Covered: true}},
		{"installed_and_not_covered", active, livepatch.KernelUpdate{CVEs: []string{"CVE-2026-3"}, Installed: true}, livepatch.Verdict{State: compliance.InstalledPendingReboot, Remaining: []string{"CVE-2026-3"}}},
		{"off_covers_nothing", off, livepatch.KernelUpdate{CVEs: []string{"CVE-2026-1"}, Installed: true}, livepatch.Verdict{State: compliance.InstalledPendingReboot, Remaining: []string{"CVE-2026-1"}}},
	} {
		got := tc.s.Judge(tc.update)
		if got.State != tc.want.State || got.Covered != tc.want.Covered || !slices.Equal(got.Remaining, tc.want.Remaining) || (got.Covered || len(got.Remaining) > 0) != (got.Detail != "") {
			t.Errorf("%s: Judge = %+v, want %+v", tc.name, got, tc.want)
		}
	}
	// what the service does not load covers nothing
	f := &livepatch.Facts{
		OS: baseline.AmazonLinux2023, Arch: "x86_64", Kernel: al2023, Now: now, Service: "enabled",
		Packages: []livepatch.Installed{{Name: "kpatch-dnf"}, {Name: "kpatch-runtime"}, {Name: "kernel-livepatch-6.1.57-29.131", Version: "1.0-2.amzn2023", CVEs: []string{"CVE-2026-1"}}},
	}
	s := livepatch.Decide(f)
	if v := s.Judge(livepatch.KernelUpdate{CVEs: []string{"CVE-2026-1"}}); s.State != livepatch.Stale || v.State != compliance.Missing {
		t.Errorf("not loaded: %s, %+v", s.State, v)
	}
	f.Modules = []livepatch.Module{{Name: "livepatch_a", Enabled: true}}
	s = livepatch.Decide(f)
	if v := s.Judge(livepatch.KernelUpdate{CVEs: []string{"CVE-2026-1"}}); s.State != livepatch.Active || v.State != compliance.Installed {
		t.Errorf("loaded: %s, %+v", s.State, v)
	}
}

func TestPatchStateAndReboot(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		installed, enabled bool
		want               compliance.State
	}{{true, true, compliance.Installed}, {true, false, compliance.InstalledPendingReboot}, {false, false, ""}, {false, true, ""}} {
		if got, _ := livepatch.PatchState(tc.installed, tc.enabled); got != tc.want {
			t.Errorf("PatchState(%v, %v) = %s, want %s", tc.installed, tc.enabled, got, tc.want)
		}
	}
}

// TestDebt: the sentence names for each CVE the kernel that fixes it, also one that is not installed yet.
func TestDebt(t *testing.T) {
	t.Parallel()
	end := time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
	active := livepatch.Status{State: livepatch.Active, SupportEnd: end, Modules: []string{"m"}}
	in := func(st livepatch.State) livepatch.Status {
		s := active
		s.State, s.Kernel = st, "k"
		return s
	}
	none := livepatch.Newer{}
	for _, tc := range []struct {
		name           string
		s              livepatch.Status
		waits, offered livepatch.Newer
		want           string
	}{
		{"waits_and_fixes_more", active, livepatch.Newer{Version: "6.1.60-1", CVEs: []string{"CVE-2026-3"}}, none, "protected until 2027-02-01 by live patches; still needs a reboot into kernel 6.1.60-1 for: CVE-2026-3"},
		{"waits_and_is_covered", active, livepatch.Newer{Version: "6.1.60-1"}, none, "protected until 2027-02-01 by live patches; kernel 6.1.60-1 waits for a reboot"},
		{"waits_and_says_nothing", active, livepatch.Newer{Version: "6.1.60-1", Unnamed: true}, none, "protected until 2027-02-01 by live patches; kernel 6.1.60-1 waits for a reboot, and what it fixes is not known"},
		{
			"offered_fixes_more", active, none,
			livepatch.Newer{Version: "6.1.61-1", CVEs: []string{"CVE-2026-4"}},
			"protected until 2027-02-01 by live patches; still needs kernel 6.1.61-1 and a reboot for: CVE-2026-4",
		},
		{
			"each_kernel_its_own", active,
			livepatch.Newer{Version: "6.1.60-1", CVEs: []string{"CVE-2026-3"}},
			livepatch.Newer{Version: "6.1.61-1", CVEs: []string{"CVE-2026-3", "CVE-2026-4"}},
			"protected until 2027-02-01 by live patches; still needs a reboot into kernel 6.1.60-1 for: CVE-2026-3; still needs kernel 6.1.61-1 and a reboot for: CVE-2026-4",
		},
		{"offered_is_covered", active, none, livepatch.Newer{Version: "6.1.61-1"}, ""},
		{"no_end_known", livepatch.Status{State: livepatch.Active}, livepatch.Newer{Version: "6.1.60-1"}, none, "protected by live patches; kernel 6.1.60-1 waits for a reboot"},
		{"nothing_owed", active, none, none, ""},
		{"ends", in(livepatch.Expiring), none, none, "protected until 2027-02-01 by live patches; a newer kernel and a reboot are needed by then"},
		{"ends_and_patched_nothing", livepatch.Status{State: livepatch.Expiring, SupportEnd: end}, none, none, "nothing is live-patched, and live patches end on 2027-02-01; a newer kernel and a reboot are needed by then"},
		{"ended", in(livepatch.Expired), livepatch.Newer{Version: "6.1.60-1", CVEs: []string{"CVE-1"}}, none, "live patches have ended for kernel k; still needs a reboot into kernel 6.1.60-1 for: CVE-1"},
		{"ended_without_a_newer_kernel", in(livepatch.Expired), none, none, "live patches have ended for kernel k; a newer kernel and a reboot are needed"},
		{"off", in(livepatch.Available), livepatch.Newer{Version: "6.1.60-1"}, none, ""},
		{"not_in_force", in(livepatch.Stale), livepatch.Newer{Version: "6.1.60-1"}, none, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := tc.s.Debt(tc.waits, tc.offered); got != tc.want {
				t.Errorf("Debt(%v, %v) =\n%q, want\n%q", tc.waits, tc.offered, got, tc.want)
			}
		})
	}
	r := livepatch.Evidence(t.Context(), livepatch.Node{
		OS: baseline.Ubuntu, Arch: "x86_64", Kernel: ubuntu, FS: sys(), Now: now,
		Exec: &recorded{answers: map[string]answer{"canonical-livepatch status --format json": {text: canonical}}},
	}, "5.15.0-119-generic")
	want := "protected until 2027-03-07 by live patches; kernel 5.15.0-119-generic waits for a reboot, and what it fixes is not known"
	if r.Debt != want || r.State != "Active" || r.System != "Canonical Livepatch" || len(r.CVEs) != 2 {
		t.Errorf("Evidence = %+v, want the debt %q", r, want)
	}
}

// TestReportIsBounded: tools that print megabytes do not fill results.
func TestReportIsBounded(t *testing.T) {
	t.Parallel()
	many := slices.Repeat([]string{strings.Repeat("é", 3000)}, 5000)
	s := livepatch.Status{
		State: livepatch.Active, Modules: many, CVEs: many, Detail: many[0],
		Packages: []string{"kernel-livepatch-6.1.57-29.131-1.0-0.amzn2023", "kernel-livepatch-6.1.57-29.131-1.0-2.amzn2023", "odd"},
	}
	r := s.Report(many)
	for _, list := range [][]string{r.Modules, r.CVEs, r.Remaining} {
		if len(list) != 2000 || len(list[0]) > 1010 || !utf8.ValidString(list[0]) {
			t.Errorf("%d entries of %d bytes", len(list), len(list[0]))
		}
	}
	if len(r.Detail) > 1010 || !slices.Equal(r.Packages, []string{"kernel-livepatch-6.1.57-29.131-1.0-2.amzn2023", "odd"}) {
		t.Errorf("detail of %d bytes, packages %v", len(r.Detail), r.Packages)
	}
	if d := s.Debt(livepatch.Newer{Version: "6", CVEs: many}, livepatch.Newer{}); len(d) > 1200 {
		t.Errorf("a debt of %d bytes", len(d))
	}
}

// TestAt: what was found ages by itself.
func TestAt(t *testing.T) {
	t.Parallel()
	end := time.Date(2026, 12, 20, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		state livepatch.State
		days  int // after now, 2026-11-22
		want  livepatch.State
	}{
		{livepatch.Active, 0, livepatch.Active},
		{livepatch.Active, 14, livepatch.Expiring},
		{livepatch.Enabled, 28, livepatch.Expiring},
		{livepatch.Expiring, 29, livepatch.Expired},
		{livepatch.Stale, 29, livepatch.Stale},
		{livepatch.Failed, 14, livepatch.Failed},
	} {
		if got := livepatch.At(&compliance.LivePatch{State: string(tc.state), SupportEnd: end}, now.AddDate(0, 0, tc.days)); got != tc.want {
			t.Errorf("%s after %d days is %s, want %s", tc.state, tc.days, got, tc.want)
		}
	}
	if got := livepatch.At(&compliance.LivePatch{State: "Active"}, now); got != livepatch.Active {
		t.Errorf("without an end: %s", got)
	}
}

// TestMemory: a kernel that was covered waits for a reboot again when it is not covered any more.
func TestMemory(t *testing.T) {
	t.Parallel()
	var m livepatch.Memory
	covered := livepatch.Verdict{State: compliance.Installed, Covered: true}
	pending := livepatch.Verdict{State: compliance.InstalledPendingReboot}
	if back := m.Update(map[string]livepatch.Verdict{"kernel 6": covered, "kernel 7": pending}, now); back != nil || len(m.Kernels) != 1 {
		t.Errorf("first: %v, %v", back, m)
	}
	m = livepatch.DecodeMemory(m.Encode())
	m.Update(map[string]livepatch.Verdict{"kernel 6": covered}, now.Add(time.Hour))
	if !m.Kernels["kernel 6"].Equal(now) {
		t.Errorf("since %v, want %v", m.Kernels["kernel 6"], now)
	}
	if back := m.Update(map[string]livepatch.Verdict{"kernel 6": pending}, now); !slices.Equal(back, []string{"kernel 6"}) || len(m.Kernels) != 0 {
		t.Errorf("turned off: %v, %v", back, m)
	}
	if m := livepatch.DecodeMemory([]byte("{")); len(m.Kernels) != 0 {
		t.Errorf("half a file: %v", m)
	}
}

func TestBlocking(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{
		"proc/1/task/1/patch_state": {Data: []byte("1\n")}, "proc/1/task/1/comm": {Data: []byte("systemd\n")},
		"proc/70/task/70/patch_state": {Data: []byte("0\n")}, "proc/70/task/70/comm": {Data: []byte("java\n")},
		"proc/70/task/71/patch_state": {Data: []byte("-1\n")}, "proc/self/task/1/patch_state": {Data: []byte("0\n")},
	}
	if got := livepatch.Blocking(root, true); !slices.Equal(got, []string{"java (70)"}) {
		t.Errorf("going in: %v", got)
	}
	if got := livepatch.Blocking(root, false); !slices.Equal(got, []string{"systemd (1)"}) {
		t.Errorf("going out: %v", got)
	}
}

func TestParsers(t *testing.T) {
	t.Parallel()
	loaded, disk, err := livepatch.ParseKpatchList(kpatchStuck)
	if err != nil || !cmp.Equal(loaded, []livepatch.Module{{Name: "livepatch_x", Enabled: true, Transition: true}}) || !cmp.Equal(disk, []livepatch.KpatchModule{{Name: "livepatch_x", Kernel: al2023}}) {
		t.Errorf("ParseKpatchList = %v %v %v", loaded, disk, err)
	}
	for _, bad := range []string{"", "kpatch: command not found\n"} {
		if _, _, err := livepatch.ParseKpatchList(bad); err == nil {
			t.Errorf("ParseKpatchList(%q) is no error", bad)
		}
	}
	for in, want := range map[string]bool{"ready\n": false, "in_progress\n": true} {
		if got, err := livepatch.ParseKlpStatus(in); err != nil || got != want {
			t.Errorf("ParseKlpStatus(%q) = %v, %v", in, got, err)
		}
	}
	if _, err := livepatch.ParseKlpStatus("what"); err == nil {
		t.Error("ParseKlpStatus of another word is no error")
	}
	if _, err := livepatch.ParseUptrack("error: no\n"); err == nil {
		t.Error("ParseUptrack of a sentence is no error")
	}
	if _, err := livepatch.ParseCanonical([]byte(`{"Status":[]}`)); err == nil {
		t.Error("ParseCanonical without a kernel is no error")
	}
	if p, err := livepatch.ParsePro([]byte(`{"services":[]}`)); p != nil || err != nil {
		t.Errorf("ParsePro = %v, %v", p, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{kpatchAmazon, kpatchStuck, canonical, pro, klp, klpInitial, supportMsg + "2026-12-05.", "ready", "3.8.13-44.1.1.el6uek.x86_64"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		loaded, disk, _ := livepatch.ParseKpatchList(s)
		_, _ = livepatch.ParseUptrack(s)
		_, _ = livepatch.ParseKlpStatus(s)
		c, _ := livepatch.ParseCanonical([]byte(s))
		p, _ := livepatch.ParsePro([]byte(s))
		facts := &livepatch.Facts{Now: now, Kernel: s, Arch: "x86_64", Modules: loaded, OnDisk: disk, Klp: livepatch.ParseKlp(s), Canonical: c, Pro: p, Service: s, Packages: []livepatch.Installed{{Name: s, Version: s}}}
		facts.SupportEnd, facts.Ended = livepatch.ParseSupport(s)
		for _, os := range []baseline.OS{baseline.AmazonLinux2, baseline.AmazonLinux2023, baseline.SUSE, baseline.Ubuntu, baseline.RedHat} {
			facts.OS = os
			if st := livepatch.Decide(facts); st.State == "" {
				t.Errorf("%s: no state", os)
			}
		}
	})
}
