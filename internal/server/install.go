package server

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"text/template"
	"time"

	"oakum.dev/internal/origin"
)

//go:embed install.sh
var installText string

//go:embed ssm-agent.sh
var ssmAgentText string

var (
	installTemplate  = scriptTemplate(installText)
	ssmAgentTemplate = scriptTemplate(ssmAgentText)
)

func scriptTemplate(text string) *template.Template {
	return template.Must(template.New("script").Delims("{{{", "}}}").Parse(text))
}

// installScript serves a script that enrols a node. It carries the server's authority and the checksum of
// every binary that the server has, so that what it fetches is what this server meant.
func (s *Server) installScript(script *template.Template) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		base := s.baseURL(r)
		u, err := url.Parse(base)
		if err != nil || !origin.Safe(base) {
			http.Error(w, "the host name is not valid", http.StatusBadRequest)
			return
		}
		config, err := origin.AWSAgentConfig(base)
		if err != nil {
			http.Error(w, "the host name is not valid", http.StatusBadRequest)
			return
		}
		sums, err := s.binaries.Sums()
		if err != nil {
			s.log.Error("binaries for nodes cannot be read", "err", err)
			http.Error(w, "the binaries for nodes cannot be read", http.StatusInternalServerError)
			return
		}
		authority := ""
		if s.signs(r) {
			authority = string(s.auth.pem)
		}
		insecure := u.Scheme == "http" && !loopback(u.Hostname())
		w.Header().Set("Content-Type", "text/x-shellscript; charset=utf-8")
		err = script.Execute(w, map[string]any{
			"URL": base, "Region": s.cfg.Region, "Authority": authority, "Sums": sums, "Insecure": insecure, "Config": string(config),
		})
		if err != nil {
			s.log.Debug("install script", "err", err) // the client has gone
		}
	}
}

func (s *Server) authorityPEM(w http.ResponseWriter, _ *http.Request) {
	if s.auth == nil {
		http.Error(w, "this server does not use an authority of its own", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(s.auth.pem) // the client has gone
}

// binaries are the programs that nodes install: the server's own for its platform, and those that an operator
// put into the data directory's folder "binaries" for others, named oakum-OS-ARCH.
type binaries struct {
	self string
	dir  string

	mu    sync.Mutex
	known map[string]binarySum
}

type binarySum struct {
	size int64
	mod  time.Time
	sum  string
}

var binaryName = regexp.MustCompile(`^oakum-linux-(amd64|arm64|arm|386)$`)

func (b *binaries) path(name string) (string, error) {
	if !binaryName.MatchString(name) {
		return "", os.ErrNotExist
	}
	p := filepath.Join(b.dir, name)
	if _, err := os.Stat(p); err == nil {
		return p, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if name == "oakum-"+runtime.GOOS+"-"+runtime.GOARCH && b.self != "" {
		return b.self, nil
	}
	return "", os.ErrNotExist
}

// Sums are the SHA-256 sums of what there is, by name.
func (b *binaries) Sums() (map[string]string, error) {
	out := map[string]string{}
	for _, arch := range origin.Architectures {
		name := origin.Program(arch)
		p, err := b.path(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sum, err := b.sum(p)
		if errors.Is(err, os.ErrNotExist) { // the running program may have been replaced, or moved away
			continue
		}
		if err != nil {
			return nil, err
		}
		out[name] = sum
	}
	return out, nil
}

func (b *binaries) sum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if k, ok := b.known[path]; ok && k.size == st.Size() && k.mod.Equal(st.ModTime()) {
		return k.sum, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	if b.known == nil {
		b.known = map[string]binarySum{}
	}
	k := binarySum{st.Size(), st.ModTime(), hex.EncodeToString(h.Sum(nil))}
	b.known[path] = k
	return k.sum, nil
}

func (s *Server) binary(w http.ResponseWriter, r *http.Request) {
	path, err := s.binaries.path(r.PathValue("name"))
	if err != nil {
		http.Error(w, fmt.Sprintf("this server has no %s: put it into the folder binaries of its data directory", r.PathValue("name")), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeFile(w, r, path)
}
