package cli

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func found(d *doctor) string {
	var b strings.Builder
	for _, c := range d.list {
		b.WriteString(c.Status + " " + c.Name + ": " + c.Text + "\n")
	}
	return b.String()
}

// apt-config itself says which proxies apt uses.
func TestDoctorTestsTheProxiesOfApt(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(aptConfig); err != nil {
		t.Skip("needs apt")
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	closed, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := closed.Addr().String()
	closed.Close()
	conf := filepath.Join(t.TempDir(), "apt.conf")
	examine := func(text string) string {
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d := &doctor{now: time.Now}
		d.aptProxy(t.Context(), "APT_CONFIG="+conf)
		return found(d)
	}
	// A host of its own, a duplicate, none for another host, and one that nobody serves.
	got := examine(`Acquire::http::Proxy "http://user:hunter2@` + l.Addr().String() + `";
Acquire::https::Proxy "http://` + l.Addr().String() + `/";
Acquire::http::Proxy::direct.example.com "DIRECT";
Acquire::http { Proxy { deb.example.com "http://` + gone + `"; }; };
Acquire::ftp::Proxy "nonsense";
`)
	for _, want := range []string{
		"OK apt proxy: Acquire::http::Proxy http://user:xxxxx@" + l.Addr().String() + " takes connections\n",
		"FAIL apt proxy: Acquire::http::Proxy::deb.example.com http://" + gone + " cannot be reached: ",
		"FAIL apt proxy: Acquire::ftp::Proxy: [not a URL] is not the address of a proxy\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("there is no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "hunter2") || strings.Count(got, "\n") != 3 {
		t.Errorf("the doctor found\n%s", got)
	}
	if got := examine(`APT::Example "1";`); strings.Contains(got, "FAIL") {
		t.Errorf("without a proxy:\n%s", got)
	}
}

// A machine that is node and client of one server hears of the way to it once.
func TestDoctorTestsAnAddressOnce(t *testing.T) {
	t.Parallel()
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ }))
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	d := &doctor{now: time.Now}
	again, err := url.Parse(srv.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	if !d.reach(context.Background(), u, srv.Client()) {
		t.Fatal(found(d))
	}
	once := found(d)
	if !d.reach(context.Background(), again, srv.Client()) || found(d) != once || calls != 1 {
		t.Errorf("%d calls; the second time added\n%s", calls, strings.TrimPrefix(found(d), once))
	}
	// Over TLS another client may trust other authorities: its connection is made, and told of only when it fails.
	secure := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer secure.Close()
	if u, err = url.Parse(secure.URL); err != nil {
		t.Fatal(err)
	}
	if !d.reach(context.Background(), u, secure.Client()) {
		t.Fatal(found(d))
	}
	once = found(d)
	if !d.reach(context.Background(), u, secure.Client()) || found(d) != once {
		t.Errorf("the second time added\n%s", strings.TrimPrefix(found(d), once))
	}
	if d.reach(context.Background(), u, http.DefaultClient) || !strings.Contains(strings.TrimPrefix(found(d), once), "FAIL connection") {
		t.Errorf("a client that does not trust the server: %s", strings.TrimPrefix(found(d), once))
	}
}
