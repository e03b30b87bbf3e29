//go:build !go1.24

package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

// cleartextClient speaks HTTP/2 with prior knowledge.
func cleartextClient() *http.Client {
	dial := func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return &http.Client{Transport: &http2.Transport{AllowHTTP: true, DialTLSContext: dial}}
}

// cleartextServer accepts HTTP/2 with prior knowledge.
func cleartextServer(handler http.Handler) *http.Server {
	return &http.Server{Handler: h2c.NewHandler(handler, &http2.Server{})}
}
