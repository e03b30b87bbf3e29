package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
)

// The short pieces of docs/interop.md, which a test compares. They are compiled, and the scenarios do the same.

func documentedClient(ctx context.Context, token string) error {
	header := http.Header{"Authorization": {"Bearer " + token}} // or nil
	conn, response, err := Dial(ctx, http.DefaultClient, "https://localhost:8000/", header)
	if err != nil || response.StatusCode != http.StatusOK {
		return err
	}
	err = conn.Close()        // END_STREAM
	io.Copy(io.Discard, conn) // until the server's END_STREAM
	return err
}

func documentedTLS(roots *x509.CertPool) *http.Client {
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}}
	return client
}

func documentedServer() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		conn, err := Accept(w, r, http.StatusOK)
		if err != nil {
			return
		}
		io.Copy(conn, conn)
	}) // the return is END_STREAM
	http.ListenAndServeTLS(":8000", "chain.pem", "key.pem", nil)
}
