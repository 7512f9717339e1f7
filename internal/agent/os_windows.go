package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"

	"oakum.dev/patch/wua"
)

// defaultStateDir is %ProgramData%\Oakum.
func defaultStateDir() string {
	dir, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, 0)
	if err != nil {
		dir = `C:\ProgramData`
	}
	return filepath.Join(dir, "Oakum")
}

// effectiveUID is 0 for whom Windows lets change the system: SYSTEM, and an administrator with all rights.
func effectiveUID() int {
	if a, err := wua.ThisAccount(); err == nil && (a.System || a.Elevated) {
		return 0
	}
	return 1
}

// bootID is the instant of the boot as it was then. Setting the clock moves what Windows calls the boot time and, by as
// much, its bias.
func bootID() string {
	var t struct {
		BootTime, CurrentTime, TimeZoneBias int64
		TimeZoneID, Reserved                uint32
		BootTimeBias, SleepTimeBias         uint64
	}
	const systemTimeOfDay = 3
	if err := windows.NtQuerySystemInformation(systemTimeOfDay, unsafe.Pointer(&t), uint32(unsafe.Sizeof(t)), nil); err != nil || t.BootTime == 0 {
		return ""
	}
	return fmt.Sprintf("%x", uint64(t.BootTime)-t.BootTimeBias)
}

func machineID() string {
	id, _, _ := wua.LocalMachine{}.Text(`SOFTWARE\Microsoft\Cryptography`, "MachineGuid") // "" where it cannot be read
	return id
}

func osVersion() (name, version string) {
	p, err := wua.New(wua.Config{Registry: wua.LocalMachine{}}).Platform(context.Background())
	if err != nil && p.Name == "" {
		return "", ""
	}
	return p.Name, p.Version
}

// rebootCommand restarts in a minute, as a planned installation of updates.
func rebootCommand() []string {
	system, err := windows.GetSystemDirectory()
	if err != nil {
		system = `C:\Windows\System32`
	}
	return []string{filepath.Join(system, "shutdown.exe"), "/r", "/t", "60", "/d", "p:2:17", "/c", "oakum: reboot requested by a command"}
}

// Who may enter a state folder: SYSTEM, administrators and its owner. Others inherit nothing from the folder above, which
// anybody may write to.
const folderRights = "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)"

// protect closes a folder to others. It is done before anything is in it.
func protect(dir string) error {
	sd, err := windows.SecurityDescriptorFromString(folderRights)
	if err != nil {
		return err
	}
	acl, _, err := sd.DACL()
	if err != nil {
		return err
	}
	err = windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, acl, nil)
	if err != nil {
		return fmt.Errorf("close %s to others: %w", dir, err)
	}
	return nil
}

// trusted reports whether a file belongs to SYSTEM, to the administrators or to whoever runs this.
func trusted(path string) error {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("find the owner of %s: %w", path, err)
	}
	owner, _, err := sd.Owner()
	if err != nil || owner == nil {
		return errors.Join(fmt.Errorf("find the owner of %s", path), err)
	}
	if owner.IsWellKnown(windows.WinLocalSystemSid) || owner.IsWellKnown(windows.WinBuiltinAdministratorsSid) {
		return nil
	}
	me, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return err
	}
	if !owner.Equals(me.User.Sid) {
		return fmt.Errorf("%s is owned by another user: refusing to use it", path)
	}
	return nil
}

// killTree ends a process and what it has started.
func killTree(pid int) {
	_ = exec.Command("taskkill.exe", "/T", "/F", "/PID", fmt.Sprint(pid)).Run() // it may have ended by itself
}
