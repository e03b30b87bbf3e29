package main

import (
	"context"
	"io"
	"net/http"
)

// The short pieces of docs/interop.md, which a test compares. They are compiled, and the scenarios do the same.

func documentedClient(ctx context.Context) error {
	conn, response, err := Dial(ctx, http.DefaultClient, "https://localhost:8000/")
	if err != nil || response.StatusCode != http.StatusOK {
		return err
	}
	err = conn.Close()        // END_STREAM
	io.Copy(io.Discard, conn) // until the server's END_STREAM
	return err
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
