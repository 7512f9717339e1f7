package cli

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// serverSettings are the flags that can be given in the environment and in the configuration file too, by the same
// names.
var serverSettings = []string{
	"account-id", "behind-proxy", "compat-livepatch-reboot", "data-dir", "database-url", "insecure-http", "listen", "log-level", "region", "tls-cert", "tls-key",
}

// maxConfigFile is far more than every setting together needs.
const maxConfigFile = 1 << 20

// resolve gives every setting that is not on the command line its value of the environment, else of the
// configuration file, and tells where each one comes from.
func (f *serverFlags) resolve(cmd *cobra.Command) (origins map[string]string, err error) {
	file, err := readConfig(f.configFile)
	if err != nil {
		return nil, err
	}
	origins = map[string]string{}
	for _, name := range serverSettings {
		fl, env := cmd.Flags().Lookup(name), "OAKUM_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		entry, inFile := file[name]
		if inFile { // what a higher place hides must be right as well
			if err := entry.check(fl); err != nil {
				return nil, err
			}
		}
		switch v := os.Getenv(env); {
		case fl.Changed:
			origins[name] = "flag"
		case v != "":
			if err := fl.Value.Set(v); err != nil {
				return nil, usage("%s: %v", env, err)
			}
			origins[name] = "environment " + env
		case inFile:
			if err := entry.set(fl); err != nil {
				return nil, err
			}
			origins[name] = entry.at
		default:
			origins[name] = "default"
		}
	}
	return origins, nil
}

// configEntry is one setting of the configuration file.
type configEntry struct {
	at     string // FILE:LINE
	values []string
	list   bool
}

func (e configEntry) check(fl *pflag.Flag) error {
	_, takesList := fl.Value.(pflag.SliceValue)
	if e.list && !takesList {
		return usage("%s: %s takes one value, not a list", e.at, fl.Name)
	}
	if fl.Value.Type() == "bool" && !slices.Contains([]string{"true", "false"}, e.values[0]) {
		return usage("%s: %s is true or false, not %q", e.at, fl.Name, e.values[0])
	}
	return nil
}

func (e configEntry) set(fl *pflag.Flag) error {
	if s, ok := fl.Value.(pflag.SliceValue); ok {
		return s.Replace(e.values)
	}
	return fl.Value.Set(e.values[0])
}

// readConfig reads a configuration file: one YAML mapping of settings. No file is an empty one.
func readConfig(path string) (_ map[string]configEntry, err error) {
	if path == "" {
		return nil, nil
	}
	in, err := os.Open(path)
	if err != nil {
		return nil, usage("read the configuration: %v", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	text, err := io.ReadAll(io.LimitReader(in, maxConfigFile+1))
	if err != nil {
		return nil, usage("read the configuration: %v", err)
	}
	if len(text) > maxConfigFile {
		return nil, usage("%s is larger than a configuration can be", path)
	}
	return parseConfig(path, text)
}

// yamlLine is how the YAML package names a line in its errors.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func parseConfig(path string, text []byte) (map[string]configEntry, error) {
	d := yaml.NewDecoder(strings.NewReader(string(text)))
	var doc, second yaml.Node
	if err := d.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, yamlError(path, err)
	}
	if err := d.Decode(&second); err == nil {
		return nil, usage("%s:%d: a configuration is one YAML document", path, second.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(path, err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil // comments only
	}
	if root.Kind != yaml.MappingNode {
		return nil, usage("%s:%d: a configuration is a mapping such as \"region: eu-central-1\"", path, root.Line)
	}
	out := map[string]configEntry{}
	for i := 0; i < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		at := fmt.Sprintf("%s:%d", path, key.Line)
		if !slices.Contains(serverSettings, key.Value) {
			return nil, usageHint(fmt.Sprintf("%s: unknown key %q", at, key.Value), "the keys are "+strings.Join(serverSettings, ", "))
		}
		if old, ok := out[key.Value]; ok {
			return nil, usage("%s: %s stands there twice, first at %s", at, key.Value, old.at)
		}
		e := configEntry{at: at, list: value.Kind == yaml.SequenceNode}
		items := []*yaml.Node{value}
		if e.list {
			items = value.Content
		}
		for _, item := range items {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
				return nil, usage("%s:%d: %s needs a value", path, item.Line, key.Value)
			}
			e.values = append(e.values, item.Value)
		}
		out[key.Value] = e
	}
	return out, nil
}

func yamlError(path string, err error) error {
	text, at := err.Error(), path
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		if text = text[len(m[0]):]; m[1] != "" {
			at += ":" + m[1]
		}
	}
	return usage("%s: %s", at, text)
}

// printConfig writes the settings in effect as YAML, with where each one comes from. Passwords are left out.
func printConfig(w io.Writer, cmd *cobra.Command, origins map[string]string) error {
	for _, name := range serverSettings {
		fl := cmd.Flags().Lookup(name)
		var value any = fl.Value.String()
		switch v := fl.Value.(type) {
		case pflag.SliceValue:
			value = append([]string{}, v.GetSlice()...)
		default:
			if fl.Value.Type() == "bool" {
				value = value == "true"
			}
			if name == "database-url" {
				value = redactURL(fl.Value.String())
			}
		}
		n := &yaml.Node{}
		if err := n.Encode(value); err != nil {
			return err
		}
		n.Style = yaml.FlowStyle
		text, err := yaml.Marshal(n)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%-42s # %s\n", name+": "+strings.TrimSpace(string(text)), origins[name]); err != nil {
			return err
		}
	}
	return nil
}

// secretParameter is a parameter of a database URL that must not be shown.
var secretParameter = regexp.MustCompile(`(?i)pass|secret|token`)

// redactURL leaves the passwords out of a database's URL.
func redactURL(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" {
		return "[not a URL]"
	}
	q := u.Query()
	for name := range q {
		if secretParameter.MatchString(name) {
			q.Set(name, "xxxxx")
			u.RawQuery = q.Encode()
		}
	}
	return u.Redacted()
}
