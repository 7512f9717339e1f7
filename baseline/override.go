package baseline

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Engine exit codes of faulty overrides. Source: the codes of the original's node engine.
const (
	CodeOverrideDenied      = 160 // access denied
	CodeOverrideNotArray    = 161
	CodeOverrideDownload    = 162
	CodeOverrideNoneForOS   = 163
	CodeOverrideManyForOS   = 165
	CodeOverrideUnsupported = 166 // operating system
	CodeOverrideConflict    = 167 // with an InstallOverrideList
)

// CodedError is a fault with the exit code that the engine's step ends with.
type CodedError struct {
	Code int
	Err  error
}

func (e *CodedError) Error() string { return e.Err.Error() }

// Unwrap returns the fault without its code.
func (e *CodedError) Unwrap() error { return e.Err }

func coded(code int, format string, args ...any) error {
	return &CodedError{Code: code, Err: fmt.Errorf(format, args...)}
}

// ParseOverrides reads a BaselineOverride document, an array of baselines, and returns the one for os.
// Members that are not known are ignored. The error is a *CodedError.
func ParseOverrides(b []byte, os OS) (*Baseline, error) {
	if !os.Valid() {
		return nil, coded(CodeOverrideUnsupported, "operating system %q is not supported by baseline overrides", os)
	}
	if len(b) > MaxDocument {
		return nil, coded(CodeOverrideNotArray, "the baseline override has more than %d bytes", MaxDocument)
	}
	var all []Baseline
	if err := json.Unmarshal(b, &all); err != nil || all == nil {
		return nil, coded(CodeOverrideNotArray, "the baseline override is not an array of patch baselines: %w", orNotArray(err))
	}
	var found *Baseline
	for i := range all {
		if all[i].OperatingSystem == "" {
			all[i].OperatingSystem = Windows
		}
		if all[i].OperatingSystem != os {
			continue
		}
		if found != nil {
			return nil, coded(CodeOverrideManyForOS, "the baseline override holds more than one baseline for %s", os)
		}
		found = &all[i]
	}
	if found == nil {
		return nil, coded(CodeOverrideNoneForOS, "the baseline override holds no baseline for %s", os)
	}
	return found, nil
}

func orNotArray(err error) error {
	if err == nil {
		return errors.New("it is null")
	}
	return err
}

// InstallList is an InstallOverrideList: what an Install installs whatever the baseline says.
type InstallList struct {
	Patches []InstallEntry
}

// InstallEntry names a package and, with Title, its version. Both may hold wildcards.
type InstallEntry struct {
	ID    string
	Title string
}

// ParseInstallList reads an InstallOverrideList in YAML or JSON. Members other than id and title are ignored.
func ParseInstallList(b []byte) (*InstallList, error) {
	if len(b) > MaxDocument {
		return nil, fmt.Errorf("the install override list has more than %d bytes", MaxDocument)
	}
	var doc struct {
		Patches []struct {
			ID    *string `yaml:"id"`
			Title string  `yaml:"title"`
		} `yaml:"patches"`
	}
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("read install override list: %w", err)
	}
	l := &InstallList{}
	for i, p := range doc.Patches {
		if p.ID == nil || *p.ID == "" {
			return nil, fmt.Errorf("install override list: patch %d has no id", i+1)
		}
		l.Patches = append(l.Patches, InstallEntry{*p.ID, p.Title})
	}
	return l, nil
}

// Names reports whether an entry names the package, and whether one that does takes its version too.
func (l *InstallList) Names(os OS, p *Patch) (named, taken bool) {
	forms := p.forms(os)
	for _, e := range l.Patches {
		if !matchForms(os, strings.ToLower(e.ID), forms) {
			continue
		}
		named = true
		if e.Title == "" || matchForms(os, strings.ToLower(e.Title), forms) {
			return true, true
		}
	}
	return named, false
}
