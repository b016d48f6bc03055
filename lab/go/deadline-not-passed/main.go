package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"time"

	"lab/go/lab"
)

var client = &http.Client{Transport: &http.Transport{DialContext: dial}}

func main() {
	for range lab.Pace() {
		go handle()
	}
}

func handle() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := fetch(ctx); err != nil {
		log.Print(err)
	}
}

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address) // opened here
}

// fetch returns in time; the request, which never saw the context, does not.
func fetch(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		answer, err := client.Get(lab.URL())
		if err == nil {
			answer.Body.Close()
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.New("no answer in time")
	}
}
