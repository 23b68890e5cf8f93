/* The worker threads: what may wait for the disk is done here and not on MHD's thread. An exchange
 * is in the queue at most once, so the queue is never longer than there are connections. */
#include "http/http_int.h"

static void *work_main(void *arg)
{
    http *h = arg;
    (void)pthread_mutex_lock(&h->lock);
    for (;;) {
        exchange *e = h->work_first;
        if (!e && h->work_end)
            break;
        if (!e) {
            (void)pthread_cond_wait(&h->work_ready, &h->lock);
            continue;
        }
        h->work_first = e->next_work;
        if (!h->work_first)
            h->work_last = NULL;
        (void)pthread_mutex_unlock(&h->lock);
        exchange_work(e);
        exchange_unref(e);
        (void)pthread_mutex_lock(&h->lock);
    }
    (void)pthread_mutex_unlock(&h->lock);
    return NULL;
}

cama_err work_open(http *h, err_info *err)
{
    while (h->n_worker < HTTP_WORKERS) {
        if (pthread_create(&h->workers[h->n_worker], NULL, work_main, h))
            return err_set(err, CAMA_ERR_NOMEM, "http: worker thread %zu of %d cannot be had",
                           h->n_worker, HTTP_WORKERS);
        h->n_worker++;
    }
    return CAMA_OK;
}

void work_close(http *h)
{
    (void)pthread_mutex_lock(&h->lock);
    h->work_end = true;
    (void)pthread_cond_broadcast(&h->work_ready);
    (void)pthread_mutex_unlock(&h->lock);
    while (h->n_worker > 0)
        (void)pthread_join(h->workers[--h->n_worker], NULL);
}

void work_add(http *h, exchange *e)
{
    (void)pthread_mutex_lock(&h->lock);
    e->next_work = NULL;
    if (h->work_last)
        h->work_last->next_work = e;
    else
        h->work_first = e;
    h->work_last = e;
    (void)pthread_cond_signal(&h->work_ready);
    (void)pthread_mutex_unlock(&h->lock);
}
