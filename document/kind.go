package document

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Kind is what a document is for: its DocumentType.
type Kind string

// The kinds of documents that are told apart here. Others are kept as they are.
const (
	Command        Kind = "Command"
	Policy         Kind = "Policy"
	Automation     Kind = "Automation"
	Session        Kind = "Session"
	ChangeCalendar Kind = "ChangeCalendar"
	// ConfigurationSchema is deleted only by force.
	ConfigurationSchema Kind = "ApplicationConfigurationSchema"
)

// Plain is the notation of calendars.
const Plain Format = "TEXT"

// schemas are the schema versions of the kinds that have any.
// Source: AWS Systems Manager User Guide, "Schemas, features, and examples".
var schemas = map[Kind][]string{
	Command:    {"1.2", "2.0", "2.0.1", "2.0.2", "2.0.3", "2.2"},
	Policy:     {"2.0", "2.0.1", "2.0.2", "2.0.3", "2.2"},
	Automation: {"0.3"},
	Session:    {"1.0"},
}

// A reference finds only names of letters and digits.
var parameterName = regexp.MustCompile(`\A[a-zA-Z0-9]+\z`)

// Version is one version of a document that a caller may use.
type Version struct {
	Name        string // the ARN for a document that another account shares
	Owner       string // Amazon, or an account
	Number      string
	VersionName string
	Kind        Kind
	Format      Format
	Text        []byte // as it was submitted
	Platforms   []Platform
	*Document
}

// Validate reads the text of a document of a kind and refuses what no node could ever run: for Command and Policy the
// whole document, for Automation its outline, for others that they are well-formed. The Document of a kind without
// steps has the schema version and the description that it names, if any. Errors are *Error and say where the fault is.
func Validate(kind Kind, text []byte, format Format) (*Document, error) {
	if len(text) > MaxSize {
		return nil, tooLarge(text)
	}
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, contentError("the text is not UTF-8, or has a NUL in it")
	}
	if kind == ChangeCalendar || format == Plain {
		return readCalendar(kind, text, format)
	}
	content, err := ToJSON(text, format)
	if err != nil {
		return nil, err
	}
	if _, err := readNode(content); err != nil {
		return nil, err
	}
	if schemas[kind] == nil {
		return readOutline(content)
	}
	d, err := parse(content, JSON)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(schemas[kind], d.SchemaVersion) {
		return nil, &Error{
			Kind:    ErrSchemaVersion,
			Message: fmt.Sprintf("Document with schema version %s is not supported for the document type %s, which has %s", d.SchemaVersion, kind, strings.Join(schemas[kind], ", ")),
		}
	}
	for _, name := range sortedKeys(d.Parameters) {
		if (kind == Command || kind == Policy) && !parameterName.MatchString(name) {
			return nil, contentError("parameters.%s: a name has letters and digits only", name)
		}
	}
	for _, s := range d.Steps {
		if s.malformed != "" {
			return nil, contentError("step %s: %s", s.Name, s.malformed)
		}
	}
	if kind == Automation {
		return d, d.checkRunbook()
	}
	return d, nil
}

func readCalendar(kind Kind, text []byte, format Format) (*Document, error) {
	lines := strings.Fields(string(text))
	switch {
	case format != Plain:
		return nil, contentError("a ChangeCalendar is an iCalendar file: its format is TEXT")
	case kind != ChangeCalendar:
		return nil, contentError("the format TEXT is for the document type ChangeCalendar only")
	case len(lines) < 2 || lines[0] != "BEGIN:VCALENDAR" || lines[len(lines)-1] != "END:VCALENDAR":
		return nil, contentError("an iCalendar file begins with BEGIN:VCALENDAR and ends with END:VCALENDAR")
	}
	return &Document{}, nil
}

func readOutline(content []byte) (*Document, error) {
	var top map[string]any
	if err := decodeJSON(content, &top); err != nil || top == nil {
		return nil, contentError("the document must be an object")
	}
	d := &Document{content: content, Parameters: map[string]*Parameter{}}
	d.SchemaVersion, _ = top["schemaVersion"].(string)
	d.Description, _ = top["description"].(string)
	return d, nil
}

// checkRunbook looks at the steps of an Automation document, which is stored and never run here.
func (d *Document) checkRunbook() error {
	var top struct {
		MainSteps []struct{ Name, Action string }
	}
	if err := decodeJSON(d.content, &top); err != nil {
		return contentError("mainSteps: %v", err)
	}
	if len(top.MainSteps) == 0 {
		return contentError("mainSteps must be a list with at least one step")
	}
	for i, s := range top.MainSteps {
		if s.Name == "" || s.Action == "" {
			return contentError("mainSteps[%d] must have a name and an action", i)
		}
	}
	return nil
}

// everywhere is the order in which platforms are listed.
var everywhere = []Platform{Windows, Linux, MacOS}

// pluginPlatforms are the platforms of plugins that exist on some only.
// Source: AWS Systems Manager User Guide, "Command document plugin reference".
var pluginPlatforms = map[string][]Platform{
	"aws:runShellScript":      {Linux, MacOS},
	"aws:runDockerAction":     {Linux},
	"aws:updateAgent":         {Windows},
	"aws:applications":        {Windows},
	"aws:cloudWatch":          {Windows},
	"aws:configureDocker":     {Windows, Linux},
	"aws:domainJoin":          {Windows, Linux},
	"aws:psModule":            {Windows},
	"aws:runPowerShellScript": everywhere,
}

// Platforms returns where at least one step can run: by its plugin and by a precondition on platformType. A document
// without steps, or whose steps contradict themselves, has all of them.
func (d *Document) Platforms() []Platform {
	var out []Platform
	for _, p := range everywhere {
		if slices.ContainsFunc(d.Steps, func(s Step) bool { return s.runsOn(p) }) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return slices.Clone(everywhere)
	}
	return out
}

func (s Step) runsOn(p Platform) bool {
	if list, ok := pluginPlatforms[s.Action]; ok && !slices.Contains(list, p) {
		return false
	}
	for _, args := range s.Precondition {
		if len(args) != 2 {
			continue
		}
		a, b := args[0], args[1]
		if strings.EqualFold(b, "platformType") {
			a, b = b, a
		}
		if strings.EqualFold(a, "platformType") && !strings.EqualFold(b, string(p)) {
			return false
		}
	}
	return true
}

var storeReference = regexp.MustCompile(`\{\{\s*ssm(?:-secure)?:[a-zA-Z0-9_.\-/]+\s*\}\}`)

// StoreReference returns the first reference to a Parameter Store value in s, "" when there is none.
func StoreReference(s string) string { return storeReference.FindString(s) }

func tooLarge(text []byte) *Error {
	return &Error{Kind: ErrSize, Message: fmt.Sprintf("document content of %d bytes exceeds the limit of %d bytes", len(text), MaxSize)}
}
