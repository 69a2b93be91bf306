// A recorded step: native calls, made again with other sizes and other inputs.
#include "common.h"

// `words` holds the calls one after the other: the function, how many arguments it has, the arguments. A patch says
// which word takes which of the step's symbols, plus an offset.
OP void replay(int64_t* words, long count, const int64_t* patches, long num_patches, const int64_t* symbols) {
    for (const int64_t *patch = patches, *end = patches + 3 * num_patches; patch < end; patch += 3)
        words[patch[0]] = symbols[patch[1]] + patch[2];
    for (int64_t *word = words, *end = words + count; word < end; word += 2 + word[1])
        ((void (*)(const int64_t*))word[0])(word + 2);
}
