package macos

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"howett.net/plist"
)

// Property lists of the system.
const (
	historyFile  = "Library/Receipts/InstallHistory.plist"
	receiptsDir  = "private/var/db/receipts"
	restrictions = "Library/Managed Preferences/com.apple.applicationaccess.plist"
	updates      = "Library/Managed Preferences/com.apple.SoftwareUpdate.plist"
	maxPlist     = 64 << 20
	maxReceipts  = 5000
)

func readPlist(root fs.FS, name string, v any) error {
	info, err := fs.Stat(root, name)
	if err != nil {
		return err
	}
	if info.Size() > maxPlist {
		return fmt.Errorf("/%s has %d bytes: that is no property list of the system", name, info.Size())
	}
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	return decode(name, b, v)
}

// decode reads a property list. The library panics on some damaged ones.
func decode(name string, b []byte, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("/%s: %v", name, p)
		}
	}()
	if _, err := plist.Unmarshal(b, v); err != nil {
		return fmt.Errorf("/%s: %w", name, err)
	}
	return nil
}

// installHistory reads what Apple's installers have put in. Source: the file's own keys, as system_profiler(8) with
// SPInstallHistoryDataType shows them.
func installHistory(root fs.FS) ([]Past, error) {
	var rows []struct {
		Date     time.Time `plist:"date"`
		Name     string    `plist:"displayName"`
		Version  string    `plist:"displayVersion"`
		Process  string    `plist:"processName"`
		Packages []string  `plist:"packageIdentifiers"`
	}
	if err := readPlist(root, historyFile, &rows); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var out []Past
	for _, r := range rows {
		if r.Name != "" {
			out = append(out, Past{r.Name, r.Version, r.Date.UTC(), r.Process, r.Packages})
		}
	}
	return out, nil
}

// receipts reads what pkgutil(1) reads: one property list for each package that an installer has put in.
func receipts(root fs.FS) ([]Past, error) {
	entries, err := fs.ReadDir(root, receiptsDir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	var out []Past
	var bad error
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".plist") || len(out) >= maxReceipts {
			continue
		}
		var r struct {
			ID      string    `plist:"PackageIdentifier"`
			Version string    `plist:"PackageVersion"`
			Date    time.Time `plist:"InstallDate"`
			Process string    `plist:"InstallProcessName"`
		}
		if err := readPlist(root, receiptsDir+"/"+e.Name(), &r); err != nil {
			bad = err
			continue
		}
		if r.ID != "" {
			out = append(out, Past{r.ID, r.Version, r.Date.UTC(), r.Process, []string{r.ID}})
		}
	}
	return out, bad
}

// deferrals says, a sentence each, which updates profiles of device management hide and for how long.
// Source: Apple Developer, "Restrictions" (Device Management).
func deferrals(root fs.FS) []string {
	var r struct {
		All       bool   `plist:"forceDelayedSoftwareUpdates"`
		AllDays   uint64 `plist:"enforcedSoftwareUpdateDelay"`
		Major     bool   `plist:"forceDelayedMajorSoftwareUpdates"`
		MajorDays uint64 `plist:"enforcedSoftwareUpdateMajorOSDeferredInstallDelay"`
		MinorDays uint64 `plist:"enforcedSoftwareUpdateMinorOSDeferredInstallDelay"`
		Apps      bool   `plist:"forceDelayedAppSoftwareUpdates"`
		AppsDays  uint64 `plist:"enforcedSoftwareUpdateNonOSDeferredInstallDelay"`
	}
	var out []string
	if err := readPlist(root, restrictions, &r); err != nil && !errors.Is(err, fs.ErrNotExist) {
		out = append(out, "profiles that defer updates cannot be read: "+err.Error())
	}
	days := func(own uint64) uint64 {
		switch {
		case own > 0:
			return own
		case r.AllDays > 0:
			return r.AllDays
		}
		return 30 // Apple's default
	}
	say := func(what string, n uint64) {
		out = append(out, fmt.Sprintf("a device management profile hides %s for %d days after their release: newer ones are not known here", what, n))
	}
	if r.All {
		say("updates of macOS", days(r.MinorDays))
	}
	if r.Major {
		say("upgrades of macOS", days(r.MajorDays))
	}
	if r.Apps {
		say("other updates of Apple's", days(r.AppsDays))
	}
	var u struct {
		Catalog string `plist:"CatalogURL"`
	}
	if err := readPlist(root, updates, &u); err == nil && u.Catalog != "" {
		out = append(out, "Software Update is pointed at "+u.Catalog+" by a profile")
	}
	return out
}
