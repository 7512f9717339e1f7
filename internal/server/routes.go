package server

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"oakum.dev/internal/patchbaseline"
)

// routes puts the few plain pages before the API front. Everything that carries a signature or an AWS target
// belongs to the front, whatever its path.
func (s *Server) routes(front http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.metrics.handler())
	mux.HandleFunc("GET /install.sh", s.installScript)
	mux.HandleFunc("GET /oakum/ca.pem", s.authorityPEM)
	mux.HandleFunc("GET /oakum/bin/{name}", s.binary)
	mux.HandleFunc("GET "+patchbaseline.SnapshotPath, s.baselines.ServeSnapshot)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.certs != nil && r.TLS != nil {
			w.Header().Set("Strict-Transport-Security", "max-age=63072000")
		}
		r = r.WithContext(patchbaseline.WithBaseURL(r.Context(), s.baseURL(r)))
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

var landingPage = template.Must(template.New("landing").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Oakum</title>
<style>
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:44rem;padding:2rem 1rem}
h1{font-size:1.5rem;margin:0 0 .25rem}
pre{background:light-dark(#f2f3f3,#1b232d);border:1px solid light-dark(#d5dbdb,#414d5c);border-radius:8px;overflow-x:auto;padding:.75rem 1rem}
p{margin:.75rem 0}.muted{color:light-dark(#5f6b7a,#95a5b5)}
</style></head><body>
<h1>Oakum {{.Version}}</h1>
<p class="muted">Patch Manager for your own machines. This server is running.</p>
<p>There is no web console in this version yet. Use the AWS CLI or the oakum CLI on the server's host:</p>
<pre>export AWS_SHARED_CREDENTIALS_FILE={{.Credentials}}
aws --region {{.Region}} --endpoint-url {{.URL}} ssm describe-instance-information
oakum nodes --region {{.Region}} --endpoint-url {{.URL}}</pre>
<p>Add a node with one line. Make the activation first:</p>
<pre>aws --region {{.Region}} --endpoint-url {{.URL}} ssm create-activation --iam-role service-role/SSMRole
{{.Install}}</pre>
</body></html>
`))

// landing is what a browser sees as long as there is no console.
func (s *Server) landing(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	base := s.baseURL(r)
	err := landingPage.Execute(w, map[string]string{
		"Version": s.cfg.Version, "Credentials": "DATA-DIR/admin.credentials", "Region": s.cfg.Region, "URL": base, "Install": s.installLine(base, "ACTIVATION-ID", "ACTIVATION-CODE"),
	})
	if err != nil {
		s.log.Debug("landing page", "err", err) // the browser has gone
	}
}

// installLine is the command that makes a machine a node of this server.
func (s *Server) installLine(base, id, code string) string {
	curl := "curl -fsS"
	if strings.HasPrefix(base, "https://") && s.auth != nil {
		if leaf, err := s.certs.forPin(); err == nil {
			curl += " -k --pinnedpubkey '" + pinOf(leaf) + "'"
		}
	}
	region := ""
	if s.cfg.Region != DefaultRegion {
		region = " " + s.cfg.Region
	}
	return fmt.Sprintf("%s %s/install.sh | sudo sh -s -- %s %s%s", curl, base, id, code, region)
}
