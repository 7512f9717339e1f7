package system

import (
	"fmt"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// TestOnlySystemUnitsAreNamed tells units of the system's service manager from what users and processes call themselves:
// units are restarted by root.
func TestOnlySystemUnitsAreNamed(t *testing.T) {
	t.Parallel()
	for cgroup, want := range map[string]string{
		"0::/system.slice/nginx.service/worker":                                               "nginx.service",
		"0::/system.slice/system-getty.slice/getty@tty1.service":                              "getty@tty1.service",
		"0::/system.slice/build.service/jobs/poweroff.service":                                "build.service",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/systemd-poweroff.service": "",
		"0::/user.slice/user-1000.slice/user@1000.service/init.scope":                         "",
		"0::/user.slice/user-1000.slice/session-1.scope":                                      "",
		"0::/system.slice/docker-0123456789abcdef.scope":                                      "",
	} {
		if got := unitOf(cgroup); got != want {
			t.Errorf("unitOf(%q) = %q, want %q", cgroup, got, want)
		}
	}
	maps := []byte("7f00-7f01 r-xp 00000000 08:01 42 /usr/lib/libx.so.1 (deleted)\n")
	root := fstest.MapFS{
		"proc/7/maps": {Data: maps}, "proc/7/cgroup": {Data: []byte("0::/user.slice/user-1000.slice/session-1.scope\n")}, "proc/7/comm": {Data: []byte("rescue.service\n")},
	}
	services, err := ReplacedFiles(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	var units []string
	for _, s := range services {
		units = append(units, s.Unit)
	}
	if diff := cmp.Diff([]string{"rescue"}, units); diff != "" {
		t.Errorf("units (-want +got):\n%s", diff)
	}
}

// Trap R5: what was replaced under a running process, and what merely looks like it.
func TestTrap_R5_DeletedFiles(t *testing.T) {
	t.Parallel()
	maps := ""
	for _, l := range []struct{ perms, file string }{
		{"r-xp", "/usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)"},
		{"r--p", "/usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)"},
		{"r-xp", "/usr/lib/x86_64-linux-gnu/libc.so.6"},
		{"r-xp", "/memfd:jit (deleted)"},
		{"rw-s", "/dev/zero (deleted)"},
		{"rw-s", "/SYSV00000000 (deleted)"},
		{"r-xp", "/tmp/x.so (deleted)"},
		{"r--p", "/usr/share/fonts/a.ttf (deleted)"},
		{"r-xp", "/usr/local/lib/own.so (deleted)"},
	} {
		maps += fmt.Sprintf("7f00-7f01 %s 00000000 fe:00 1234                       %s\n", l.perms, l.file)
	}
	if diff := cmp.Diff([]string{"/usr/lib/x86_64-linux-gnu/libssl.so.3"}, deletedFiles([]byte(maps))); diff != "" {
		t.Errorf("deletedFiles (-want +got):\n%s", diff)
	}
	if got := unitOf("0::/system.slice/nginx.service/worker"); got != "nginx.service" {
		t.Errorf("unitOf = %q", got)
	}
	if got := unitOf("0::/user.slice/user-0.slice/session-1.scope"); got != "" {
		t.Errorf("unitOf = %q", got)
	}
}
