package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
)

// listener is one address that the server serves, given as a URL.
type listener struct {
	url *url.URL
	net.Listener
}

// address is the URL under which clients on this machine reach the listener.
func (l *listener) address() string {
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return l.url.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.To4() == nil {
			host = "localhost"
		}
	}
	if h := l.url.Hostname(); h != "" && net.ParseIP(h) == nil {
		host = h
	}
	return l.url.Scheme + "://" + net.JoinHostPort(host, port)
}

// parseListen reads a listener: https://HOST:PORT, or http://HOST:PORT for loopback addresses or with insecure.
func parseListen(text string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("listener %q: %w", text, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("listener %q is not of the form https://ADDRESS:PORT", text)
	}
	if u.Port() == "" {
		return nil, fmt.Errorf("listener %q has no port", text)
	}
	if u.Scheme == "http" && !insecure && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("listener %q would send everything unencrypted: use https://, or say --insecure-http", text)
	}
	return u, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// listen opens all listeners or none.
func listen(urls []*url.URL, certs *certificates) (list []*listener, err error) {
	defer func() {
		if err != nil {
			for _, l := range list {
				err = errors.Join(err, l.Close())
			}
		}
	}()
	for _, u := range urls {
		l, err := net.Listen("tcp", u.Host)
		if err != nil {
			return list, fmt.Errorf("listen on %s: %w", u, err)
		}
		if u.Scheme == "https" {
			l = tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certs.get, NextProtos: []string{"h2", "http/1.1"}})
		}
		list = append(list, &listener{u, l})
	}
	return list, nil
}
