package main

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// Post is a post of the Go library's chat. The one of examples/chat has more fields, which gob
// skips here.
type Post struct {
	User    string
	Message string
	Time    time.Time
}

// chat joins the room at a URL, posts each line of its input, and prints each post as a line. It
// leaves when its input ends.
func chat(url, name, roots string) error {
	client, err := tlsClient(roots)
	if err != nil {
		return err
	}
	conn, response, err := Dial(context.Background(), client, url, nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New("the status is " + response.Status)
	}
	in, out := gob.NewDecoder(conn), gob.NewEncoder(conn)
	if err := out.Encode(name); err != nil {
		return err
	}
	var answer string
	if err := in.Decode(&answer); err != nil {
		return err
	}
	if answer != "ok" {
		return errors.New("refused: " + answer)
	}
	said := make(chan error, 1)
	go func() {
		said <- say(out)
		conn.Close()
	}()
	for {
		var post Post
		switch err := in.Decode(&post); err {
		case nil:
			fmt.Printf("%s: %s\n", post.User, post.Message)
		case io.EOF:
			select {
			case err := <-said:
				if err != nil {
					return err
				}
				return conn.Close()
			default:
				return errors.New("sent away")
			}
		default:
			return err
		}
	}
}

func say(out *gob.Encoder) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := out.Encode(Post{Message: lines.Text(), Time: time.Now()}); err != nil {
			return err
		}
	}
	return lines.Err()
}
