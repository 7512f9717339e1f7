package agent

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"oakum.dev/awserr"
	"oakum.dev/wire/sigv4"
	"oakum.dev/wire/ssm"
)

func TestRegister(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, true)
	dir := t.TempDir()
	ca := f.caFile(t)
	broken := filepath.Join(dir, "broken.pem")
	if err := os.WriteFile(broken, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := func(change func(*Options)) Options {
		o := Options{Endpoint: f.URL, Region: testRegion, ActivationID: "a", ActivationCode: "12345678901234567890", CAFile: ca, StateDir: filepath.Join(t.TempDir(), "s")}
		change(&o)
		return o
	}
	wrong := "sha256:" + strings.Repeat("00", 32)
	for _, tc := range []struct {
		name string
		o    Options
		err  string // "" means success
	}{
		{"ca_file", good(func(*Options) {}), ""},
		{"pin", good(func(o *Options) { o.CAFile, o.CAPin = "", f.pin() }), ""},
		{"pin_and_ca_file", good(func(o *Options) { o.CAPin = f.pin() }), ""},
		{"unknown_authority", good(func(o *Options) { o.CAFile = "" }), "--ca-file or --ca-pin"},
		{"wrong_pin", good(func(o *Options) { o.CAFile, o.CAPin = "", wrong }), "does not match the pin"},
		{"wrong_pin_with_good_ca", good(func(o *Options) { o.CAPin = wrong }), "does not match the pin"},
		{"pin_of_another_form", good(func(o *Options) { o.CAPin = "md5:00" }), "64 hexadecimal digits"},
		{"ca_file_without_certificate", good(func(o *Options) { o.CAFile = broken }), "no PEM certificate"},
		{"pin_with_wrong_host", good(func(o *Options) {
			o.CAFile, o.CAPin, o.Endpoint = "", f.pin(), strings.Replace(f.URL, "127.0.0.1", "localhost", 1)
		}), "localhost"},
		{"wrong_code", good(func(o *Options) { o.ActivationCode = "x" }), "activation create"},
		{"no_code", good(func(o *Options) { o.ActivationCode = "" }), "activation code"},
		{"http_elsewhere", good(func(o *Options) { o.Endpoint = "http://192.0.2.1" }), "not encrypted"},
		{"no_scheme", good(func(o *Options) { o.Endpoint = "host:8443" }), "https://HOST"},
		{"bad_region", good(func(o *Options) { o.Region = "a/b" }), "region"},
		{"bad_profile", good(func(o *Options) { o.Profile = "some" }), "profile"},
		{"bad_proxy", good(func(o *Options) { o.Proxy = "::" }), "proxy"},
		{"nobody_listens", good(func(o *Options) { o.Endpoint = "https://127.0.0.1:1" }), "connection refused"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			id, err := Register(t.Context(), tc.o)
			if tc.err == "" {
				if err != nil || id != "mi-0123456789abcdef0" {
					t.Fatalf("Register = %q, %v", id, err)
				}
				n, err := loadNode(tc.o.StateDir, RealSystem(), "", quickTiming())
				if err != nil {
					t.Fatal(err)
				}
				n.impatient = true
				if err := n.Client().Call(t.Context(), "ssm", "UpdateInstanceInformation", &ssm.UpdateInstanceInformationInput{InstanceId: &id}, nil); err != nil {
					t.Errorf("a signed call after registration: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Fatalf("Register = %v, want an error with %q", err, tc.err)
			}
			if exists(pathsOf(tc.o.StateDir).registration) {
				t.Error("a failed registration left a registration behind")
			}
		})
	}
}

func TestRegisterTwice(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	o := Options{Endpoint: f.URL, Region: testRegion, ActivationID: "a", ActivationCode: "12345678901234567890", StateDir: dir}
	if _, err := Register(t.Context(), o); err == nil || !strings.Contains(err.Error(), "already registered as mi-") {
		t.Errorf("Register = %v", err)
	}
	o.Force = true
	if _, err := Register(t.Context(), o); err != nil {
		t.Error(err)
	}
	run(t, dir)
	if _, err := Register(t.Context(), o); err == nil || !strings.Contains(err.Error(), "another agent is using") {
		t.Errorf("Register beside a running agent = %v", err)
	}
}

func TestStateIsPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	a := run(t, dir)
	f.final(t, f.sendScript(t, cmd1, "true"))
	a.stop()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		// What lies below a command's directory is behind its 0700.
		if rel, _ := filepath.Rel(dir, path); info.Mode().Perm()&0o077 != 0 && !strings.Contains(rel, "steps") {
			t.Errorf("%s has mode %v", rel, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		path string
		mode os.FileMode
		want string
	}{
		{"directory_group_writable", dir, 0o770, "writable by group or others"},
		{"directory_world_writable", dir, 0o777, "writable by group or others"},
		{"registration_readable", filepath.Join(dir, "registration.json"), 0o640, "accessible by group or others"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			info, err := os.Stat(tc.path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(tc.path, tc.mode); err != nil {
				t.Fatal(err)
			}
			defer os.Chmod(tc.path, info.Mode())
			if _, err := New(Config{StateDir: dir}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("New = %v, want %q", err, tc.want)
			}
			if _, err := LoadNode(dir); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("LoadNode = %v, want %q", err, tc.want)
			}
		})
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{StateDir: link}); err == nil {
		t.Error("a state directory behind a symbolic link is accepted")
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(dir, "registration.json"), 12345, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := New(Config{StateDir: dir}); err == nil || !strings.Contains(err.Error(), "owned by another user") {
			t.Errorf("New = %v", err)
		}
	}
}

func TestNotRegistered(t *testing.T) {
	if _, err := LoadNode(filepath.Join(t.TempDir(), "none")); !errors.Is(err, ErrNotRegistered) {
		t.Errorf("LoadNode = %v", err)
	}
	if s, err := Status(t.TempDir()); err != nil && !errors.Is(err, ErrNotRegistered) || s.Registered {
		t.Errorf("Status = %+v, %v", s, err)
	}
}

func TestOneAgentPerStateDir(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	run(t, dir)
	if _, err := New(Config{StateDir: dir}); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("New = %v", err)
	}
}

func TestCredentialsAreCached(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	for range 3 {
		n, err := LoadNode(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Credentials(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if f.tokens != 1 {
		t.Errorf("%d token requests, want 1", f.tokens)
	}
	b, err := os.ReadFile(filepath.Join(dir, "aws-credentials"))
	if err != nil || !strings.Contains(string(b), "[default]\naws_access_key_id = ASIA0000000000000001\n") {
		t.Errorf("shared credentials %q, %v", b, err)
	}
}

func TestCredentialsAreRenewedAtHalfLife(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	sys := RealSystem()
	var ahead time.Duration
	sys.Now = func() time.Time { return time.Now().Add(ahead) }
	n, err := loadNode(registered(t, f), sys, "", quickTiming())
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		at     time.Duration
		tokens int
	}{{0, 1}, {29 * time.Minute, 1}, {31 * time.Minute, 2}, {60 * time.Minute, 2}, {62 * time.Minute, 3}} {
		ahead = tc.at
		f.with(func() { f.offset = tc.at })
		if _, err := n.Credentials(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f.tokens != tc.tokens {
			t.Errorf("after %s there were %d token requests, want %d", tc.at, f.tokens, tc.tokens)
		}
	}
	f.with(func() { f.down = true })
	ahead += 35 * time.Minute
	if _, err := n.Credentials(t.Context()); err != nil {
		t.Errorf("valid credentials are not used while they cannot be renewed: %v", err)
	}
}

// Trap A5: requests are signed by the server's clock.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	for _, offset := range []time.Duration{-3 * time.Hour, 90 * 24 * time.Hour} {
		f := newFakeServer(t, false)
		f.offset = offset
		a := run(t, registered(t, f))
		f.final(t, f.sendScript(t, cmd1, "true"))
		if got := time.Duration(a.client.skew.Load()); (got - offset).Abs() > 3*time.Second {
			t.Errorf("clock difference %s, want %s", got, offset)
		}
	}
}

// renewal makes the agent's next call ask for a token.
func renewal(t *testing.T, a *running) {
	t.Helper()
	a.creds.sem <- struct{}{}
	a.creds.cur, a.creds.next = session{}, time.Time{}
	<-a.creds.sem
}

// The key is replaced whether the answer arrives or not, and the agent goes on at once: the server has ended the
// sessions of the old key.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	for _, lose := range []bool{false, true} {
		f := newFakeServer(t, false)
		f.updateKey, f.loseUpdate = true, lose
		dir := registered(t, f)
		before, err := readRegistration(dir)
		if err != nil {
			t.Fatal(err)
		}
		a := run(t, dir)
		f.final(t, f.sendScript(t, cmd1, "true"))
		a.stop()
		after, err := readRegistration(dir)
		if err != nil {
			t.Fatal(err)
		}
		if string(before.PrivateKey) == string(after.PrivateKey) || len(after.NextKey) != 0 {
			t.Errorf("answer lost %v: the key was not replaced", lose)
		}
		key, err := after.key()
		if err != nil || !key.PublicKey.Equal(f.key) {
			t.Errorf("answer lost %v: the node's key is not the server's: %v", lose, err)
		}
		f.with(func() {
			if len(f.offered) != 1 || f.tokens != 2 {
				t.Errorf("answer lost %v: %d keys were offered and %d tokens asked for, want 1 and 2", lose, len(f.offered), f.tokens)
			}
		})
	}
}

// A rotation that was given up may reach the server when the agent has long been asked for another one.
func TestRotationThatArrivesLate(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	f.updateKey, f.delayUpdate = true, true
	dir := registered(t, f)
	a := run(t, dir)
	f.final(t, f.sendScript(t, cmd1, "true"))
	f.with(func() { f.updateKey, f.delayUpdate = true, true }) // the answer of the second is lost as well
	renewal(t, a)
	f.final(t, f.sendScript(t, cmd2, "true"))
	a.stop()
	f.with(func() {
		if len(f.offered) != 2 || !bytes.Equal(f.offered[0], f.offered[1]) {
			t.Fatalf("%d keys were offered, want the same one twice", len(f.offered))
		}
		key, err := sigv4.ParseNodeKey(f.offered[0])
		if err != nil {
			t.Fatal(err)
		}
		f.accept(key)
	})
	a = run(t, dir) // it starts with the session that the late rotation has ended
	renewal(t, a)
	f.final(t, f.sendScript(t, "abe8a6cd-51e4-4219-96a1-9fdda751550c", "true"))
	a.stop()
	reg, err := readRegistration(dir)
	if err != nil {
		t.Fatal(err)
	}
	if key, err := reg.key(); err != nil || !key.PublicKey.Equal(f.key) || len(reg.NextKey) != 0 {
		t.Errorf("the node's key is not the server's: %v", err)
	}
}

// A program of a step finds the key that the agent has changed meanwhile, and changes nothing itself.
func TestStepOutlivesARotation(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	early, err := LoadNode(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.with(func() { f.updateKey = true })
	a := run(t, dir)
	f.final(t, f.sendScript(t, cmd1, "true"))
	a.stop()
	if _, err := early.Credentials(t.Context()); err != nil {
		t.Errorf("a program that was started before the rotation: %v", err)
	}

	f.with(func() { f.updateKey, f.delayUpdate = true, true })
	a = run(t, dir)
	renewal(t, a)
	f.final(t, f.sendScript(t, cmd2, "true"))
	a.stop()
	pending, err := readRegistration(dir)
	if err != nil || len(pending.NextKey) == 0 {
		t.Fatalf("no rotation is pending: %v", err)
	}
	f.with(func() {
		key, err := sigv4.ParseNodeKey(f.offered[len(f.offered)-1])
		if err != nil {
			t.Fatal(err)
		}
		f.accept(key)
	})
	if err := os.Remove(filepath.Join(dir, "credentials.json")); err != nil {
		t.Fatal(err)
	}
	step, err := LoadNode(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := step.Credentials(t.Context()); err != nil {
		t.Errorf("a program while a rotation is pending: %v", err)
	}
	after, err := readRegistration(dir)
	if err != nil || !bytes.Equal(after.PrivateKey, pending.PrivateKey) || !bytes.Equal(after.NextKey, pending.NextKey) {
		t.Errorf("a step's program wrote the registration (%v)", err)
	}
}

func TestDeregisteredNodeIsQuiet(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	a := run(t, registered(t, f))
	f.final(t, f.sendScript(t, cmd1, "true"))
	f.with(func() { f.denied = true })
	a.creds.sem <- struct{}{}
	a.creds.cur.Issued = a.creds.cur.Issued.Add(-time.Hour)
	<-a.creds.sem
	for limit := time.Now().Add(30 * time.Second); !strings.Contains(a.logs.String(), "refuses this node") && time.Now().Before(limit); {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(time.Second)
	if n := strings.Count(a.logs.String(), "refuses this node"); n != 1 {
		t.Errorf("the refusal was logged %d times", n)
	}
	if n := strings.Count(a.logs.String(), "\n"); n > 12 {
		t.Errorf("%d lines logged", n)
	}
	f.with(func() { f.denied = false })
	f.final(t, f.sendScript(t, cmd2, "true"))
}

func TestImpatientNodeReportsWhy(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	dir := registered(t, f)
	f.with(func() { f.denied = true })
	n, err := LoadNode(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := n.Credentials(ctx); err == nil || !strings.Contains(err.Error(), "deregistered") {
		t.Errorf("Credentials = %v", err)
	}
}

func TestKnownForgetsOldEntriesOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "known")
	now := time.Unix(2e9, 0)
	k, err := openKnown(path, now)
	if err != nil {
		t.Fatal(err)
	}
	k.at["old"] = now.Add(-46 * 24 * time.Hour).Unix()
	k.at["young"] = now.Unix()
	for i := range knownMin {
		k.at[formatUUID([16]byte{byte(i), byte(i >> 8)})] = now.Add(-44 * 24 * time.Hour).Unix()
	}
	if err := k.compact(now); err != nil {
		t.Fatal(err)
	}
	if err := k.close(); err != nil {
		t.Fatal(err)
	}
	if k, err = openKnown(path, now); err != nil {
		t.Fatal(err)
	}
	defer k.close()
	if k.has("old") || !k.has("young") || len(k.at) != knownMin+1 {
		t.Errorf("%d entries; old %v, young %v", len(k.at), k.has("old"), k.has("young"))
	}
}

func TestUntilPhase(t *testing.T) {
	now := time.Unix(2e9, 123)
	for _, id := range []string{"mi-1", "mi-2", "mi-3"} {
		d := untilPhase(id, now, 5*time.Minute)
		if d < 150*time.Second || d > 451*time.Second {
			t.Errorf("untilPhase(%s) = %s", id, d)
		}
		if again := untilPhase(id, now.Add(d), 5*time.Minute); again != 5*time.Minute {
			t.Errorf("the phase of %s drifts: %s", id, again)
		}
	}
}

func TestInstallUnit(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	sys := RealSystem()
	sys.Root, sys.UID, sys.GOOS, sys.Executable = root, 0, "linux", "/usr/local/bin/oakum"
	path, err := InstallUnit(t.Context(), sys, "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), "ExecStart=/usr/local/bin/oakum agent run --state-dir /var/lib/oakum\n") {
		t.Errorf("unit %s, %v", b, err)
	}
	sys.Executable = "/opt/my tools/oakum"
	if _, err := InstallUnit(t.Context(), sys, ""); err == nil {
		t.Error("a path with blanks is accepted")
	}
	sys.UID = 1000
	if _, err := InstallUnit(t.Context(), sys, ""); err == nil || !strings.Contains(err.Error(), "root") {
		t.Errorf("InstallUnit as a user = %v", err)
	}
}

// Trap A12: two machines with one identity.
func TestCloneIsRefused(t *testing.T) {
	t.Parallel()
	f := newFakeServer(t, false)
	root := t.TempDir()
	id := func(s string) {
		if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc/machine-id"), []byte(s+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sys := RealSystem()
	sys.Root = root
	id("aaaa")
	dir := registered(t, f, func(o *Options) { o.System = sys })
	for _, tc := range []struct {
		machine string
		refused bool
	}{{"bbbb", true}, {"aaaa", false}} {
		id(tc.machine)
		n, err := loadNode(dir, sys, "", quickTiming())
		if err != nil {
			t.Fatal(err)
		}
		n.impatient = true
		if _, err := n.Credentials(t.Context()); (awserr.Code(err) == "MachineFingerprintDoesNotMatch") != tc.refused {
			t.Errorf("machine %s: Credentials = %v", tc.machine, err)
		}
	}
}
