package rpm

// EachHeader gives tests the bytes of the headers, from which they build databases of other formats.
var EachHeader = eachHeader
