// Asio's compiled part, once for the library.
#include <boost/asio/impl/src.hpp>
