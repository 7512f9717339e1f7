package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"oakum.dev/internal/origin"
	"oakum.dev/internal/patchbaseline"
)

// routes puts the few plain pages before the API front. Everything that carries a signature or an AWS target
// belongs to the front, whatever its path.
func (s *Server) routes(front http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.metrics.handler())
	mux.HandleFunc("GET /install.sh", s.installScript(installTemplate))
	mux.HandleFunc("GET /ssm-agent.sh", s.installScript(ssmAgentTemplate))
	mux.HandleFunc("GET /oakum/ca.pem", s.authorityPEM)
	mux.HandleFunc("GET /oakum/bin/{name}", s.binary)
	mux.HandleFunc("GET "+patchbaseline.SnapshotPath, s.baselines.ServeSnapshot)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.certs != nil && r.TLS != nil {
			w.Header().Set("Strict-Transport-Security", "max-age=63072000")
		}
		r = r.WithContext(origin.With(r.Context(), s.baseURL(r)))
		signed := r.Header.Get("Authorization") != "" || r.Header.Get("X-Amz-Target") != "" || r.URL.Query().Has("X-Amz-Algorithm")
		if _, pattern := mux.Handler(r); pattern != "" && !signed {
			mux.ServeHTTP(w, r)
			return
		}
		front.ServeHTTP(w, r)
	})
}

// baseURL is the address under which the caller reached this server.
func (s *Server) baseURL(r *http.Request) string {
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if s.trustedProxy(r) {
		if p := r.Header.Get("X-Forwarded-Proto"); p == "http" || p == "https" {
			scheme = p
		}
		if h := r.Header.Get("X-Forwarded-Host"); h != "" {
			host = h
		}
	}
	return scheme + "://" + host
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if s.draining.Load() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	if err := s.store.Ping(ctx); err != nil {
		s.log.Warn("not ready", "err", err)
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// signs reports whether the caller saw a certificate of the server's own authority. A proxy has one of its own.
func (s *Server) signs(r *http.Request) bool {
	return s.auth != nil && strings.HasPrefix(s.baseURL(r), "https://") && !s.trustedProxy(r)
}

// installLine is the command that makes a machine a node of this server.
func (s *Server) installLine(base string, ownAuthority bool) string {
	curl := "curl -fsS"
	if ownAuthority {
		if leaf, err := s.certs.forPin(); err == nil {
			curl += " -k --pinnedpubkey '" + pinOf(leaf) + "'"
		}
	}
	region := ""
	if s.cfg.Region != DefaultRegion {
		region = " " + s.cfg.Region
	}
	return fmt.Sprintf("%s %s/install.sh | sudo sh -s -- ACTIVATION-ID ACTIVATION-CODE%s", curl, base, region)
}
