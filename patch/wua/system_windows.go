package wua

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// System is the configuration for this machine. What is kept between runs goes into stateDir.
func System(stateDir string, note func(string)) (Config, error) {
	root, err := windows.GetSystemWindowsDirectory()
	if err != nil {
		return Config{}, fmt.Errorf("find the folder of Windows: %w", err)
	}
	return Config{
		Client: Agent{}, Registry: LocalMachine{}, Account: ThisAccount, Free: free, Uptime: uptime, StateDir: stateDir, Root: root, Now: time.Now, Note: note,
	}, nil
}

// LocalMachine is HKEY_LOCAL_MACHINE, in the view of 64-bit programs.
type LocalMachine struct{}

func (LocalMachine) open(key string) (registry.Key, bool, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.QUERY_VALUE|registry.WOW64_64KEY)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("open HKLM\\%s: %w", key, err)
	}
	return k, true, nil
}

func value[T any](key, name string, read func(registry.Key) (T, uint32, error)) (T, bool, error) {
	var none T
	k, found, err := LocalMachine{}.open(key)
	if err != nil || !found {
		return none, false, err
	}
	defer k.Close()
	v, _, err := read(k)
	if errors.Is(err, fs.ErrNotExist) {
		return none, false, nil
	}
	if err != nil {
		return none, false, fmt.Errorf("read HKLM\\%s\\%s: %w", key, name, err)
	}
	return v, true, nil
}

// Text implements Registry.
func (LocalMachine) Text(key, name string) (string, bool, error) {
	return value(key, name, func(k registry.Key) (string, uint32, error) { return k.GetStringValue(name) })
}

// Number implements Registry.
func (LocalMachine) Number(key, name string) (uint64, bool, error) {
	return value(key, name, func(k registry.Key) (uint64, uint32, error) { return k.GetIntegerValue(name) })
}

// Texts implements Registry.
func (LocalMachine) Texts(key, name string) ([]string, bool, error) {
	return value(key, name, func(k registry.Key) ([]string, uint32, error) { return k.GetStringsValue(name) })
}

// Key implements Registry.
func (LocalMachine) Key(key string) (bool, error) {
	k, found, err := LocalMachine{}.open(key)
	if found {
		k.Close()
	}
	return found, err
}

// ThisAccount finds out who runs this process.
func ThisAccount() (Account, error) {
	t := windows.GetCurrentProcessToken()
	user, err := t.GetTokenUser()
	if err != nil {
		return Account{}, err
	}
	a := Account{Name: user.User.Sid.String(), System: user.User.Sid.IsWellKnown(windows.WinLocalSystemSid), Elevated: t.IsElevated()}
	if name, domain, _, err := user.User.Sid.LookupAccount(""); err == nil {
		a.Name = domain + `\` + name
	}
	network, err := windows.CreateWellKnownSid(windows.WinNetworkSid)
	if err != nil {
		return a, err
	}
	groups, err := t.GetTokenGroups()
	if err != nil {
		return a, err
	}
	for _, g := range groups.AllGroups() {
		a.Network = a.Network || g.Sid.Equals(network)
	}
	return a, nil
}

func free(dir string) (int64, error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var mine, total, all uint64
	if err := windows.GetDiskFreeSpaceEx(p, &mine, &total, &all); err != nil {
		return 0, err
	}
	return int64(min(mine, 1<<62)), nil
}

func uptime() time.Duration { return windows.DurationSinceBoot() }
