package main

import (
	"log"
	"net/http"

	"lab/go/lab"
)

func main() {
	for range lab.Pace() {
		check()
	}
}

func check() {
	answer, err := http.Get(lab.URL())
	if err != nil {
		log.Print(err)
		return
	}
	// The status is all it wants; the body is neither read nor closed.
	_ = answer.StatusCode
}
